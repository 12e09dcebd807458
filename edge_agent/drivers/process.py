"""Monitors and inference hosts as processes of this machine: no daemon, nothing to install.

They are forked from a nursery (mesh/nursery.py), a process of the agent's that has imported what they need: a host is
ready in a fifth of the time that Python takes to import it, and all share that memory.

Every process has a directory (drivers/unit.py) below its position's; the directories are the driver's whole memory. A
process holds the lock in its directory as long as it lives, so one that a killed agent left behind is recognised for
what it is, never by a pid alone, and never started a second time.
"""

import asyncio
import contextlib
import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import structlog

from edge_agent.drivers import cgroups
from edge_agent.drivers.base import MONITOR, Fingerprint, HostSet, Lineup, MonitorMode, Observed, TcpLinks
from edge_agent.drivers.unit import About, Unit
from edge_agent.failure import Failure
from edge_agent.machine.layout import Layout, PositionPaths
from edge_agent.machine.software import Software, software_of
from edge_agent.machine.storage import storage_errors
from mesh.files import private_directory
from mesh.nursery import Nursery
from mesh.processes import Process
from mesh.settings import dump_toml
from mesh.version import VERSION
from waypost.errors import Precondition

log = structlog.get_logger()

HOST, MONITOR_PROGRAM = ("inference_host", "run"), ("position_monitor",)
"""What is run, after an interpreter (machine/software.py)."""
MODULES = ("inference_host", "position_monitor")
PRELOAD = tuple(f"{module}.preload" for module in MODULES)
LOGS_BOUND_EVERY_S = 60.0


class ProcessDriver:
    """See base.Driver. Create it inside a running event loop: it adopts what is there."""

    name = "process"

    def __init__(
        self,
        layout: Layout,
        *,
        log_level: str = "info",
        command: Callable[..., list[str]] | None = None,
    ) -> None:
        self._layout = layout
        self._log_level = log_level
        self._command = command or Software(layout.software).command
        self._groups = cgroups.find()
        self._group_prefix = f"waypost-{hashlib.sha256(os.fsencode(layout.data_dir)).hexdigest()[:8]}-"
        self._wake: Callable[[str], None] = lambda uid: None
        self._units: dict[str, dict[str, Unit]] = {}
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("WAYPOST_")}
        self._environment_of_others = {
            key: value for key, value in self._environment.items() if key not in ("PYTHONPATH", "PYTHONHOME")
        }
        """Of other versions of the software: where this one's modules are is nothing to them."""
        self._nursery = Nursery(str(layout.data_dir), MODULES, PRELOAD, self._environment)
        for uid, directory in self._left_behind():
            unit = self._unit(uid, directory)
            if unit.draining and not unit.running:
                self._remove(uid, unit)
        self._housekeeping = asyncio.get_running_loop().call_later(LOGS_BOUND_EVERY_S, self._keep_house)

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            cpu_millis=len(os.sched_getaffinity(0)) * 1000,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            architecture=platform.machine(),
            execution_providers=("CPUExecutionProvider",) if find_spec("onnxruntime") else (),
            driver_version=VERSION,
        )

    def positions(self) -> frozenset[str]:
        return frozenset(uid for uid, units in self._units.items() if units)

    def observe(self, uid: str) -> Sequence[Observed]:
        return [unit.observe() for _, unit in sorted(self._units.get(uid, {}).items())]

    def warm_up(self) -> None:
        with contextlib.suppress(OSError):  # who is started first is told
            self._nursery.warm_up()

    def on_change(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    async def apply(self, lineup: Lineup, *, grace_s: float) -> None:
        self._refuse_limits(lineup)
        paths = self._layout.position(lineup.uid, lineup.short)
        asked = {id_ for hosts in lineup.hosts for id_ in (*hosts.replicas, *hosts.resting)}
        if lineup.monitor is not MonitorMode.STOP:
            asked.add(MONITOR)
        for id_, unit in list(self._units.get(lineup.uid, {}).items()):
            if id_ not in asked:
                self._drain(lineup.uid, unit, grace_s)
        if lineup.monitor is MonitorMode.RUN:
            self._run_monitor(lineup, paths, grace_s)
        for hosts in lineup.hosts:
            for id_ in hosts.replicas:
                self._run_host(lineup, hosts, id_, paths)

    async def kill(self, uid: str, id_: str, why: Failure) -> None:
        if (unit := self._units.get(uid, {}).get(id_)) is not None and unit.running:
            unit.kill(why)

    async def logs(self, uid: str, tail_lines: int) -> dict[str, str]:
        return {id_: unit.tail(tail_lines) for id_, unit in sorted(self._units.get(uid, {}).items())}

    async def close(self) -> None:
        self._housekeeping.cancel()
        self._nursery.close()
        for units in self._units.values():
            for unit in units.values():
                unit.close()

    # -- starting

    def _run_host(self, lineup: Lineup, hosts: HostSet, id_: str, paths: PositionPaths) -> None:
        unit = self._unit(lineup.uid, paths.hosts / id_)
        if unit.running:
            return
        joins: Sequence[Path] = ()
        if hosts.limits and self._groups is not None:
            with storage_errors(unit.directory):
                joins = self._groups.prepare(self._group(lineup.uid, id_), hosts.limits)
        about = About(id_, hosts.version, hosts.variant, paths.host_address(id_))
        links = lineup.links
        settings = dump_toml(
            {
                "model": str(hosts.package),
                "replica": id_,
                "position": lineup.position,
                "position_uid": lineup.uid,
                "serve_as": hosts.serve_as,
                "model_version": hosts.version.name,
                "digest": hosts.version.digest,
                "monitor": links.monitor if links else paths.monitor_address,
                **_identified(links, paths, id_),
                "listen": about.address,
                "jwks": str(paths.jwks),
                "log_level": self._log_level,
            }
        )
        self._start(paths, unit, about, settings, HOST, joins)

    def _run_monitor(self, lineup: Lineup, paths: PositionPaths, grace_s: float) -> None:
        unit, links = self._unit(lineup.uid, paths.monitor), lineup.links
        about = About(MONITOR, variant=f"{_way(links)}@{lineup.monitor_software}")
        if unit.running:
            # Its hosts miss it for a second; the next look starts it anew.
            if unit.about.variant.partition("@")[::2] != about.variant.partition("@")[::2]:
                self._drain(lineup.uid, unit, grace_s)
            return
        settings = dump_toml(
            {
                "position": lineup.position,
                "position_uid": lineup.uid,
                "agent": links.agent if links else self._layout.agent_address,
                "listen": paths.monitor_address,
                **({"link_listen": links.monitor_listen} if links else {}),  # older monitors know no such setting
                **_identified(links, paths, MONITOR),
                "signing_key": str(paths.signing_key),
                "jwks": str(paths.jwks),
                "log_level": self._log_level,
            }
        )
        self._start(paths, unit, about, settings, MONITOR_PROGRAM)

    def _start(
        self,
        paths: PositionPaths,
        unit: Unit,
        about: About,
        settings: str,
        program: Sequence[str],
        joins: Sequence[Path] = (),
    ) -> None:
        with storage_errors(paths.sockets):
            private_directory(paths.sockets)
        software = software_of(about.variant)
        argv = [*self._command(software, *program), "--settings", str(unit.directory / "settings.toml")]
        env = self._environment if software in ("", VERSION) else self._environment_of_others

        def spawn(process: Process) -> None:
            process.spawn(argv, env, beside_us=True, joins=joins, nursery=self._nursery)

        unit.start(about, settings, spawn)
        log.info("process_started", id=about.id, directory=str(unit.directory), starts=unit.about.starts)

    def _refuse_limits(self, lineup: Lineup) -> None:
        if self._groups is None and any(hosts.limits for hosts in lineup.hosts):
            raise Precondition(
                "LIMITS_UNSUPPORTED",
                "spec.resources cannot be kept on this edge server: its processes may not make control groups",
                "remove spec.resources, run the agent as root or with a delegated cgroup, or use another driver",
            )

    # -- ending

    def _drain(self, uid: str, unit: Unit, grace_s: float) -> None:
        if not unit.running:
            self._remove(uid, unit)
        elif not unit.draining:
            log.info("process_draining", id=unit.about.id, grace_s=grace_s)
            unit.drain(grace_s)

    def _ended(self, uid: str, directory: Path) -> None:
        unit = self._units.get(uid, {}).get(directory.name)
        if unit is not None:
            failure = unit.observe().failure
            log.info("process_ended", id=directory.name, draining=unit.draining, why=failure and failure.message)
            if unit.draining:
                self._remove(uid, unit)
        self._wake(uid)

    def _remove(self, uid: str, unit: Unit) -> None:
        """Nothing of it is left: directory, sockets, group."""
        self._units[uid].pop(unit.directory.name, None)
        unit.remove()
        self._sweep_groups()

    # -- what is here

    def _unit(self, uid: str, directory: Path) -> Unit:
        units = self._units.setdefault(uid, {})
        if directory.name not in units:
            units[directory.name] = Unit(directory, lambda: self._ended(uid, directory))
        return units[directory.name]

    def _left_behind(self) -> list[tuple[str, Path]]:
        """Process directories of an agent before us."""
        found = []
        for home in sorted(self._layout.positions.glob("*/")):
            paths = [*sorted((home / "hosts").glob("*/")), home / "monitor"]
            found += [(home.name, path) for path in paths if (path / "unit.json").exists()]
        return found

    def _keep_house(self) -> None:
        try:
            for units in self._units.values():
                for unit in units.values():
                    unit.bound_log()
            self._sweep_groups()
        finally:  # whatever went wrong, not for ever
            self._housekeeping = asyncio.get_running_loop().call_later(LOGS_BOUND_EVERY_S, self._keep_house)

    def _group(self, uid: str, id_: str) -> str:
        return f"{self._group_prefix}{uid[:8]}-{id_}"

    def _sweep_groups(self) -> None:
        if self._groups is not None:
            used = {self._group(uid, id_) for uid, units in self._units.items() for id_ in units}
            self._groups.sweep(self._group_prefix, used)


def _way(links: TcpLinks | None) -> str:
    """By which a monitor that was started with other addresses is known."""
    return "" if links is None else f"{links.agent} {links.monitor_listen} {links.monitor}"


def _identified(links: TcpLinks | None, paths: PositionPaths, id_: str) -> dict[str, str]:
    """Who a process is to those whom it dials over TLS."""
    return {} if links is None else {"identity": str(paths.identity(id_)), "edge_server": links.edge_server}
