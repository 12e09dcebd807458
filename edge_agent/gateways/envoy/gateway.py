"""How Envoy is given tables.

A table is made live in strides, each acknowledged before the next, so that no call ever meets a gap:

    clusters     all that the table names, and still what the table before named; hosts that take over answer
    listeners    dedicated ports: what is most likely to fail comes before anything that calls depend on
    routes       from here on calls go by the new table
    clusters     only those of the table; calls in flight on the others end where they are

Envoy acknowledges nothing that it reads from files, so we ask: each file carries a version, and Envoy's statistics
tell which version it has taken in, what is still warming up, and whether it refused something. In the end the threads
that carry the calls are asked themselves (witness.py). On any failure the table before is put back.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import structlog

from edge_agent.gateways.base import Applied
from edge_agent.gateways.envoy import config
from edge_agent.gateways.envoy.admin import Admin, Standing
from edge_agent.gateways.envoy.clusters import Face, addresses, cluster_name
from edge_agent.gateways.envoy.config import Resources
from edge_agent.gateways.envoy.files import Files
from edge_agent.gateways.envoy.process import EnvoyProcess, envoy_release, refuse_held
from edge_agent.gateways.envoy.settings import EnvoySettings
from edge_agent.gateways.envoy.witness import Witness
from edge_agent.gateways.routes import RouteTable, bridge, check, successors
from edge_agent.machine.storage import storage_errors
from waypost.errors import MeshError, Precondition, Unavailable

log = structlog.get_logger()

STRIDE_WITHIN_S = 10.0  # usually 0.01; with five hundred positions 0.2
WITNESS_WITHIN_S = 1.0  # for one round of questions
LOG_BOUND_EVERY_S = 60.0
HEALTHY_WITHIN_S = 3.0  # for new hosts to pass Envoy's health check; they have passed the agent's already


class EnvoyGateway:
    """The embedded gateway; see edge_agent/gateways/base.py for what it promises."""

    name = "envoy"

    def __init__(self, settings: EnvoySettings) -> None:
        self._settings = settings
        self._files = Files(settings.data_dir)
        self._admin = Admin(settings.admin_socket)
        self._witness = Witness(settings.witness_socket, settings.concurrency)
        self._process = EnvoyProcess(settings, self._files, self._admin)
        self._one_by_one = asyncio.Lock()
        self._live: str | None = None
        self._housekeeping: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        return self._settings.address

    async def version(self) -> str:
        return f"envoy {envoy_release()[1]}"

    async def start(self) -> None:
        async with self._one_by_one:
            await self._run()

    async def current(self) -> str | None:
        return self._live if self._process.alive() else None

    async def apply(self, table: RouteTable) -> Applied:
        async with self._one_by_one:
            if await self.current() == table.hash:
                return Applied(table.hash, changed=False)
            started = time.monotonic()
            await self._run()
            if faults := check(table, reserved_ports=frozenset({self._settings.port})):
                raise Precondition("BAD_ROUTES", f"the route table cannot be used: {'; '.join(faults)}")
            await self._change(table)
            log.info("routes_live", positions=len(table.routes), took_ms=round((time.monotonic() - started) * 1000, 1))
            return Applied(table.hash, changed=True)

    async def stop(self, *, grace_s: float) -> bool:
        async with self._one_by_one:
            self._live = None
            if self._housekeeping is not None:
                self._housekeeping.cancel()
                self._housekeeping = None
            return await self._process.end(grace_s)

    def _keep_house(self) -> None:
        """Envoy writes also where no route changes for weeks."""
        self._process.bound_log()
        self._housekeeping = asyncio.get_running_loop().call_later(LOG_BOUND_EVERY_S, self._keep_house)

    async def _run(self) -> None:
        if self._housekeeping is None:
            self._keep_house()
        if await self._process.run():
            self._live = None

    async def _change(self, table: RouteTable) -> None:
        held = self._files.held()
        before = held or RouteTable()
        self._refuse_held_ports(before, table)
        self._live = None
        try:
            await self._stride(cds=config.cds(bridge(before, table)))
            await self._see_successors(before, table)
            await self._open(table)
            await self._stride(cds=config.cds(table))
            await self._hear_witness()
            with storage_errors(self._settings.data_dir):
                self._files.hold(table)
        except MeshError:
            if held is not None:
                await self._put_back(held)
            raise
        self._live = table.hash

    def _refuse_held_ports(self, before: RouteTable, table: RouteTable) -> None:
        ours = {route.dedicated_port for route in before.routes}
        for route in table.routes:
            if route.dedicated_port and route.dedicated_port not in ours:
                hint = f"it is the port of {route.name}: stop what holds it, or change --port-range"
                refuse_held(self._settings.host, route.dedicated_port, hint)

    async def _open(self, table: RouteTable) -> None:
        """Listeners and routes. The first time together: a listener opens when it has its routes."""
        lds, rds = config.lds(table, self._settings), config.rds(table, self._settings)
        if self._settings.certificate:
            with storage_errors(self._settings.data_dir):
                self._files.write("sds", config.sds(self._settings))
        if "rds" in (await self._standing()).versions:
            await self._stride(lds=lds)
        await self._stride(rds=rds, lds=lds)

    async def _stride(self, **wanted: Resources) -> None:
        """Gives Envoy these files and waits until it works by them.

        Raises: Precondition(ROUTES_REJECTED); Unavailable(GATEWAY_FAILED, GATEWAY_SILENT); storage errors.
        """
        before = await self._standing()
        log_size = self._files.log_size()
        with storage_errors(self._settings.data_dir):
            for kind, resources in wanted.items():
                if {before.versions.get(kind), self._files.version(kind)} != {resources.version}:
                    self._files.write(kind, resources)
        versions = {kind: resources.version for kind, resources in wanted.items()}

        async def taken_in() -> bool:
            now = await self._admin.standing()
            if now.refused > before.refused:
                why = self._files.complaint(log_size)
                raise Precondition("ROUTES_REJECTED", f"Envoy does not take the routes: {why}")
            return versions.items() <= now.versions.items() and now.warming == 0

        await self._process.until(taken_in, STRIDE_WITHIN_S, "take in its routes")

    async def _standing(self) -> Standing:
        found: list[Standing] = []

        async def answered() -> bool:
            found.append(await self._admin.standing())
            return True

        await self._process.until(answered, STRIDE_WITHIN_S, "answer")
        return found[-1]

    async def _see_successors(self, before: RouteTable, table: RouteTable) -> None:
        """Waits until hosts that take over from others pass Envoy's own health checks.

        Raises: Unavailable(HOSTS_UNREACHABLE).
        """
        missing = dict(_successors(before, table))

        async def all_healthy() -> bool:
            healthy = await self._admin.healthy(missing)
            for cluster, hosts in list(missing.items()):
                missing[cluster] = hosts - healthy.get(cluster, frozenset())
                if not missing[cluster]:
                    del missing[cluster]
            return not missing

        try:
            if missing:
                await self._process.until(all_healthy, HEALTHY_WITHIN_S, "reach the hosts")
        except Unavailable as error:
            if error.reason != "GATEWAY_SILENT":
                raise
            silent = ", ".join(sorted({host for hosts in missing.values() for host in hosts}))
            message = f"the gateway gets no answer to its health checks from {silent}"
            raise Unavailable("HOSTS_UNREACHABLE", message, "see the logs of these hosts") from error

    async def _hear_witness(self) -> None:
        """Waits until every thread that carries calls has seen all that Envoy was given."""
        word = str(time.monotonic_ns())
        with storage_errors(self._settings.data_dir):
            self._files.write("witness", config.witness(word))

        async def heard() -> bool:
            return await self._witness.all_say(word, WITNESS_WITHIN_S)

        await self._process.until(heard, STRIDE_WITHIN_S, "bring its routes to its threads")

    async def _put_back(self, held: RouteTable) -> None:
        log.warning("routes_put_back", positions=len(held.routes))
        lds, rds = config.lds(held, self._settings), config.rds(held, self._settings)
        with contextlib.suppress(MeshError):  # the one that is under way says more
            await self._stride(cds=config.cds(held), rds=rds, lds=lds)


def _successors(before: RouteTable, table: RouteTable) -> Iterator[tuple[str, frozenset[str]]]:
    """Clusters in which hosts take over from others, and the addresses of these hosts."""
    old = before.by_uid
    faces: tuple[Face, ...] = ("grpc", "http")
    for route in table.routes:
        hosts = successors(old.get(route.uid), route)
        for face in faces:
            if hosts:
                yield cluster_name(route.uid, face), addresses(hosts, face)
