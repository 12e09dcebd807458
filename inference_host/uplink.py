"""Link 3 as a host sees it: who may call comes down; how the host is and what it counted goes up.

A host needs no monitor to serve. It dials for ever, keeps what it heard last in memory (the monitor tells it all anew
after a restart of either), and counts on while nobody listens.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog
from google.protobuf.message import DecodeError

from inference_host.faces.monitoring import follow, take_counts
from inference_host.processes.worker import Worker
from inference_host.serving.dataplane import DataPlane
from inference_host.serving.lifecycle import Lifecycle
from inference_host.settings import HostSettings
from inference_host.transport.auth import Gate
from mesh.identity import client_context
from mesh.link import LOCAL, ChildLink, DesiredState, Item
from mesh.link_wire import dial_wire
from mesh.spiffe import monitor_dns
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1.host_link_pb2 import HostOrders, HostReport, HostState
from waypost.errors import Invalid, MeshError, Unsupported
from waypost.rpc.wire_channel import WireChannel

log = structlog.get_logger()

CONNECT_HOST = "/waypost.api.link.v1.HostLinkService/ConnectHost"
PACE_S = 10.0  # between samples while nobody asked for more
PACE_S_MIN = 0.2  # a monitor that asks for more gets this
FAREWELL_S = 1.0  # for the last words of a host that ends; nobody depends on them


def open_channel(settings: HostSettings) -> WireChannel:
    """To the monitor: plain on a Unix socket, else mutual TLS with the certificate that lies on the disk now.

    Raises: OSError where that cannot be used.
    """
    if settings.monitor.startswith("unix:"):
        return WireChannel(settings.monitor)
    assert settings.identity is not None
    name = monitor_dns(settings.edge_server, settings.position_uid)
    return WireChannel(settings.monitor, tls=client_context(settings.identity), server_name=name)


class Uplink:
    """The host's end of the link. `run` it in a task; cancel it to end."""

    def __init__(
        self,
        plane: DataPlane,
        gate: Gate,
        life: Callable[[], Lifecycle],
        *,
        worker: Worker | None = None,
    ) -> None:
        """life: the host's as a whole. worker: where it has several processes, for which this one speaks."""
        self._plane = plane
        self._life = life
        self._worker = worker
        self._gate = gate
        self._pace_s = PACE_S
        self._pace_changed = asyncio.Event()
        self._on = asyncio.Event()
        self._link: ChildLink | None = None

    async def run(self, settings: HostSettings) -> None:
        """settings: say where the monitor is."""
        self._link = ChildLink(
            dial_wire(partial(open_channel, settings), CONNECT_HOST),
            self,
            identity=self._plane.place.replica,
            boot_id=os.urandom(16).hex(),
            rng=random.Random(),
            timing=LOCAL,
        )
        self.report()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run(), name="link")
            tasks.create_task(self._sample_for_ever(), name="samples")

    def report(self) -> None:
        """The host's state may have changed."""
        if self._link is None:
            return
        life, package = self._life(), self._plane.served[0].package
        message = HostReport(
            state=HostState.Value(f"HOST_STATE_{life.state}"),
            reason=life.reason,
            message=life.message,
            model_version=package.full_name,
        )
        self._link.report(self._plane.place.replica, message.SerializeToString())

    async def farewell(self) -> None:
        """Sends what was counted and the last state; waits a moment for it to leave."""
        if self._link is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._on.wait()
                self._sample()
                self.report()
                await asyncio.sleep(FAREWELL_S / 10)  # the writer's next turn; it tells nobody when it is done

    async def _sample_for_ever(self) -> None:
        while True:
            self._pace_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace_s):
                    await self._pace_changed.wait()
                    continue
            self._sample()

    def _sample(self) -> None:
        assert self._link is not None
        counts = take_counts(self._plane)
        if self._worker is not None:
            self._worker.add_others(counts)
        self._link.sample(counts.SerializeToString())

    # -- mesh.link.ChildHandler

    def refuse(self, item: Item) -> MeshError | None:
        try:
            orders = HostOrders.FromString(item.body)
        except DecodeError:
            return Invalid("BAD_ORDERS", f"the orders for {item.name} cannot be decoded")
        place = self._plane.place
        if orders.position_uid != place.position_uid:
            return Invalid("WRONG_POSITION", f"orders of position {orders.position_uid}, this is {place.position_uid}")
        try:
            self._gate.check_keys(orders.jwks)
        except MeshError as error:
            return error
        return None

    async def keep(self, state: DesiredState) -> None:
        """In memory only: the monitor is on this machine and tells it again."""
        item = state.items.get(self._plane.place.replica)
        if item is None:
            return
        follow(HostOrders.FromString(item.body), self._plane, self._gate)
        if self._worker is not None:
            self._worker.pass_on(item.body)

    async def keep_epoch(self, epoch: int) -> None:
        """Sessions are numbered for the process, which ends with its memory."""

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        asked = self._plane.place.replica in names
        self._pace_s = max(PACE_S_MIN, pace_s) if asked and pace_s > 0 else PACE_S
        self._pace_changed.set()

    async def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        for _ in ():
            yield commands.Result()
        raise Unsupported("UNKNOWN_COMMAND", "hosts carry out no commands")

    def link_changed(self, connected: bool) -> None:
        if connected:
            self._on.set()
        else:
            self._on.clear()
