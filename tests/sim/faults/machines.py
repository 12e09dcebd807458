"""Hosts, gateways, disks, power and clocks of the machines."""

from typing import ClassVar

from tests.sim.faults.family import Faults
from tests.sim.machine import Temper
from waypost.errors import Unavailable

CLOCK_JUMP_S = 3600.0


class MachineFaults(Faults):
    weights: ClassVar = {
        "end_host": 4,
        "hang_host": 2,
        "spoil_hosts": 2,
        "kill_gateway": 1,
        "slow_gateway": 1,
        "refuse_routes": 1,
        "fill_disk": 2,
        "break_disk": 1,
        "cut_power": 2,
        "set_clock": 2,
    }

    def mend(self) -> None:
        for edge in self._world.edges:
            edge.disk.full = edge.disk.broken = False
            edge.machine.temper = Temper()
            edge.gateway.refuse, edge.gateway.ack_delay_s = None, 0.02
            edge.power_up()

    def end_host(self) -> None:
        edge = self._edge
        if hosts := sorted(edge.hosts()):
            edge.machine.end(*self._rng.choice(hosts))

    def hang_host(self) -> None:
        edge = self._edge
        if hosts := sorted(edge.hosts()):
            edge.hang(*self._rng.choice(hosts))

    def spoil_hosts(self) -> None:
        machine = self._edge.machine
        machine.temper = Temper(
            self._rng.choice([1.0, 10.0]), self._rng.choice([0.1, 0.9]), self._rng.choice([0.0, 0.5])
        )
        self._after(self._for(30.0), lambda: setattr(machine, "temper", Temper()))

    def kill_gateway(self) -> None:
        self._edge.kill_gateway()

    def slow_gateway(self) -> None:
        gateway = self._edge.gateway
        gateway.ack_delay_s = self._rng.choice([1.0, 8.0])
        self._after(self._for(30.0), lambda: setattr(gateway, "ack_delay_s", 0.02))

    def refuse_routes(self) -> None:
        gateway = self._edge.gateway
        gateway.refuse = Unavailable("GATEWAY_SILENT", "the gateway does not say what is live")
        self._after(self._for(20.0), lambda: setattr(gateway, "refuse", None))

    def fill_disk(self) -> None:
        disk = self._edge.disk
        disk.full = True
        self._after(self._for(30.0), lambda: setattr(disk, "full", False))

    def break_disk(self) -> None:
        disk = self._edge.disk
        disk.broken = True
        self._after(self._for(10.0), lambda: setattr(disk, "broken", False))

    def cut_power(self) -> None:
        edge = self._edge
        if edge.powered:
            edge.cut_power()
            self._after(2.0 + self._for(30.0), edge.power_up)

    def set_clock(self) -> None:
        machine = self._rng.choice([*self._world.edges, *self._world.planes])
        machine.wall_skew_s += self._rng.uniform(-CLOCK_JUMP_S, CLOCK_JUMP_S)
