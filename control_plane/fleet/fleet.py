"""All sessions, and what the services ask of them (`services.fleet_port.Fleet`)."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from control_plane.access.attempts import Buckets
from control_plane.fleet import status as status_of
from control_plane.fleet.duplicates import Duplicates
from control_plane.fleet.figures import PACE_S, Figures, added
from control_plane.fleet.owners import Owners
from control_plane.fleet.rows import Observation, Rows
from control_plane.fleet.session import AgentSession
from control_plane.fleet.telling import AT_ONCE, LEAK_S, Told
from control_plane.identity.revocation import refuse_revoked, revoked_at
from control_plane.mirror import Mirror
from control_plane.store import Claim, Stores
from control_plane.store import observed_rows as rows
from control_plane.store.resources import DESIRED, EDGE_SERVER, desired_name
from mesh import clock
from mesh.link import ParentSession, ParentWire, Sessions, Timing
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED, EdgeServer, EdgeServerStatus
from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.errors import Denied, Unavailable

log = structlog.get_logger()


ARRIVALS_AT_ONCE = 200
"""Sessions that are being admitted. The others wait in line, at no cost: where the whole fleet calls at once, all of
them together would wait longer than agents have patience, and what was done for each would have been in vain."""

WORK_AT_ONCE = 100
"""Sessions whose news are being written or read, of those that are admitted: who arrives must not wait for them."""

RETURNING_PER_S = 200
"""Agents that are told to come back in one second, when we leave: what a control plane takes in on half a core."""

MINUTES_PACE_S = 10.0  # how late a finished minute may stand in the history


class Judged(Protocol):
    """A step of `status`."""

    def __call__(self, before: EdgeServerStatus, *, now: float) -> EdgeServerStatus: ...


class Fleet:
    """One per control plane. `open` before anything else; `run` beside the sessions. run: `Peer.run` of ours."""

    def __init__(self, stores: Stores, *, run: str, timing: Timing, link_address: str) -> None:
        self.stores = stores
        self.owners = Owners(stores.claims, run)
        self.rows = Rows(stores.observed)
        self.figures = Figures(self.show_interest)
        self.told = Told()
        self.heard = Buckets(AT_ONCE, LEAK_S)  # events of each edge server, across its sessions
        self._timing = timing
        self._link_address = link_address
        self._sessions = Sessions()
        self._duplicates = Duplicates()
        self._issued: dict[str, float] = {}  # when the certificate of the present session was signed
        self._revoked: dict[str, EdgeServer] = {}
        self._status: dict[str, EdgeServerStatus] = {}
        self._leases_s: dict[str, float] = {}  # of agents that are lost: when it is over, on the loop's clock
        self._lease_began = asyncio.Event()
        self.arrivals = asyncio.Semaphore(ARRIVALS_AT_ONCE)
        self.work = asyncio.Semaphore(WORK_AT_ONCE)

    async def open(self, lives: Callable[[str], bool] = lambda holder: False) -> None:
        """Takes up what a process that is no more knew: agents that it was connected with have a lease to come back.

        lives: whether the holder of a claim does, another control plane.
        """
        found = await self.stores.observed.scan(rows.EDGE_SERVER)
        self._status = {row.name: EdgeServerStatus.FromString(row.body) for row in found}
        now, claims = clock.now(), await self.stores.claims.read(self._status.keys())
        theirs = {name for name, claim in claims.items() if lives(claim.holder)}
        untrue = {name for name, status in self._status.items() if status_of.restarted(status, now=now) != status}
        free = {name: claims.get(name) for name in sorted(untrue - theirs)}
        await self._inherit(free, dict(self._status), status_of.restarted)

    async def run(self) -> None:
        """Pokes sessions, ends leases, writes figures; for ever. May be run again after it raised."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_store(), name="fleet-follow-store")
            tasks.create_task(self._end_leases(), name="fleet-leases")
            tasks.create_task(self.rows.run(), name="fleet-rows")
            tasks.create_task(self._keep_minutes(), name="fleet-minutes")

    def say_goodbye(self, alternates: Sequence[str] = ()) -> None:
        """We are about to end: the agents come back by themselves, or go to these link addresses, evenly."""
        for number, link in enumerate(self._sessions.all()):
            alternate = alternates[number % len(alternates)] if alternates else ""
            link.end("RESTARTING", reconnect_after_s=number / RETURNING_PER_S, alternate=alternate)

    async def close(self) -> None:
        """Writes what is not written yet."""
        await self.rows.flush()
        now = clock.now()
        await self._write_minutes(now + 60)  # the minute under way too: half of it is better than none

    # -- for the services (services.fleet_port.Fleet)

    def command(self, edge_server: str, command: Command) -> AsyncIterator[Result]:
        link = self._sessions.get(edge_server)
        if link is None:
            raise Unavailable(
                "AGENT_DISCONNECTED",
                f"the agent of {edge_server} is not connected now",
                f"see `waypost edge-server get {edge_server.rpartition('/')[2]}`; what it serves it serves on",
                edge_server=edge_server,
            )
        return link.call(command)

    def metrics(self, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        return self.figures.watch(position, edge_server)

    # -- for the link service

    async def serve(self, edge_server: str, wire: ParentWire, *, issued: float, peer: str = "") -> None:
        """One stream of the agent of `edge_server`, to its end. Raises MeshError to tell the agent.

        issued: when the certificate that it came with was signed, in seconds since the epoch. peer: where it comes
        from, for people.
        """
        session = AgentSession(self, edge_server, issued, peer)
        session.link = ParentSession(session, timing=self._timing)
        await session.link.serve(wire)

    # -- for sessions

    async def enter(self, session: AgentSession, boot_id: str, epoch_seen: int) -> int:
        """From now on `session` speaks for its edge server; returns its epoch.

        epoch_seen: the highest that the agent knows; after a restore from backup our counter may lie below it.
        Raises: Denied(DUPLICATE_IDENTITY | EDGE_SERVER_REVOKED).
        """
        async with self.arrivals:
            return await self._enter(session, boot_id, epoch_seen)

    async def _enter(self, session: AgentSession, boot_id: str, epoch_seen: int) -> int:
        await self._refuse_second(session, boot_id)
        epoch, unbroken = await self.owners.take(session.edge_server, above=epoch_seen)
        if not unbroken or session.edge_server not in self._status:
            await self._read_status(session.edge_server)
        if (revoked := self._revoked.get(session.edge_server)) is not None:
            refuse_revoked(revoked, session.issued)  # what is revoked after this line, `_shut_out` ends
        self._duplicates.entered(session.edge_server, boot_id, session.peer)
        self._issued[session.edge_server] = session.issued
        self._sessions.enter(session.edge_server, session.link)
        self._leases_s.pop(session.edge_server, None)
        return epoch

    async def _refuse_second(self, session: AgentSession, boot_id: str) -> None:
        name, now_s = session.edge_server, asyncio.get_running_loop().time()
        speaks = self._sessions.get(name) is not None
        first = self._duplicates.other(name, boot_id, now_s, speaks=speaks)
        if first is not None:
            await self.judge(name, status_of.doubled(self.status(name), first, session.peer, now=clock.now()))
            raise Denied(
                "DUPLICATE_IDENTITY",
                f"another agent of {name} is connected, from {first or 'elsewhere'}",
                "stop one of the two; a copied data directory needs a join token and an edge server of its own",
            )

    async def _read_status(self, edge_server: str) -> None:
        """As the control plane left it that spoke for the edge server before us, and now may write of it no more.

        Of a second agent that another process saw, that process will not say when it is gone.
        """
        known = (await self.stores.observed.read(rows.EDGE_SERVER, [edge_server])).get(edge_server)
        if known is not None:
            status = EdgeServerStatus.FromString(known)
            alone = not self._duplicates.refuses(edge_server)
            self._status[edge_server] = status_of.alone(status, now=clock.now()) if alone else status

    def leave(self, session: AgentSession) -> bool:
        """The session is over. True where it still spoke for its edge server: its lease begins to run out."""
        if not self._sessions.leave(session.edge_server, session.link):
            return False
        self._begin_lease(session.edge_server)
        return True

    def speaks_for(self, edge_server: str, session: AgentSession) -> bool:
        return self._sessions.get(edge_server) is session.link

    def status(self, edge_server: str) -> EdgeServerStatus:
        """As of now; nobody may change it."""
        return self._status.get(edge_server, EdgeServerStatus())

    async def judge(self, edge_server: str, status: EdgeServerStatus) -> None:
        """Of an edge server that we speak for."""
        self._status[edge_server] = status
        await self.rows.put([self._observation(edge_server)])

    def _observation(self, edge_server: str) -> Observation:
        status = self.status(edge_server)
        row = rows.edge_server_row(edge_server, status, self.owners.fence(edge_server))
        return Observation(row, status_of.essence(status))

    def show_interest(self, edge_server: str) -> None:
        """Tells the agent which of its positions are watched now, if it is there."""
        if (link := self._sessions.get(edge_server)) is not None:
            link.set_interest(self.figures.watched(edge_server), PACE_S)

    # -- for the peering

    async def inherit(self, claims: Mapping[str, int], holder: str) -> None:
        """`holder`, another control plane, is gone; its agents have a lease to come back to one of us."""
        seen = {name: Claim(name, holder, epoch) for name, epoch in claims.items() if name.startswith("edgeServers/")}
        found = await self.stores.observed.read(rows.EDGE_SERVER, seen)
        statuses = {name: EdgeServerStatus.FromString(body) for name, body in found.items()}
        await self._inherit(seen, statuses, status_of.inherited)

    async def _inherit(
        self, claims: Mapping[str, Claim | None], statuses: Mapping[str, EdgeServerStatus], judged: Judged
    ) -> None:
        """Speaks for edge servers that nobody speaks for; those that were connected have a lease."""
        if not claims:
            return
        observations: list[Observation] = []
        for name in await self.owners.inherit(claims):  # what was read of the others may be old by now
            before = statuses.get(name, EdgeServerStatus())
            self._status[name] = judged(before, now=clock.now())
            if before.state == EDGE_SERVER_STATE_CONNECTED:
                self._begin_lease(name)
            if self._status[name] != before:
                observations.append(self._observation(name))
        await self.rows.put(observations)

    async def let_go(self) -> None:
        """Ends sessions of agents that another control plane has admitted since: they speak through it now."""
        for edge_server in await self.owners.overtaken():
            self._leases_s.pop(edge_server, None)
            self._status.pop(edge_server, None)
            if (link := self._sessions.get(edge_server)) is not None:
                self._sessions.leave(edge_server, link)
                link.end("SUPERSEDED")

    # -- life

    async def _follow_store(self) -> None:
        """Desired state that changed goes down; edge servers that are no more are forgotten."""
        mirror = Mirror(self.stores.records, DESIRED, EDGE_SERVER)
        compared = False
        async for revision in self.stores.records.watch(0):
            changed = await mirror.refresh(revision)
            servers = mirror.of(EDGE_SERVER)
            for edge_server in {name.removeprefix(desired_name("")) for name in changed}:
                if (link := self._sessions.get(edge_server)) is not None:
                    link.poke()
            for name in changed & servers.keys():
                if servers[name].message.HasField("revoke_time"):
                    await self._shut_out(servers[name].message)
            if not compared or any(name not in servers for name in changed if name.startswith("edgeServers/")):
                compared = True  # looking at all of them after each commit would cost a large fleet dear
                for edge_server in self._status.keys() - servers.keys():
                    await self._forget(edge_server)

    async def _shut_out(self, edge_server: EdgeServer) -> None:
        """It was revoked: a session of before ends now."""
        name = edge_server.name
        self._revoked[name] = edge_server
        if (link := self._sessions.get(name)) is not None:
            if self._issued[name] > revoked_at(edge_server):
                return
            self._sessions.leave(name, link)
            link.end("EDGE_SERVER_REVOKED", self._timing.lease)
        status = self.status(name)
        if name in self._status and status.connected_since_time.ToMilliseconds() <= revoked_at(edge_server) * 1000:
            self._leases_s.pop(name, None)
            await self.judge(name, status_of.revoked(status, edge_server, now=clock.now()))

    async def _forget(self, edge_server: str) -> None:
        """The edge server was deleted: its session ends, and so do the rows that speak of it."""
        if await self.stores.records.read(edge_server) is not None:
            return  # made anew a moment ago
        if (link := self._sessions.get(edge_server)) is not None:
            self._sessions.leave(edge_server, link)
            link.end("EDGE_SERVER_DELETED", self._timing.lease)
        self._revoked.pop(edge_server, None)
        self._status.pop(edge_server, None)
        self._leases_s.pop(edge_server, None)
        self._duplicates.forget(edge_server)
        self.told.forget(edge_server)
        reports = await self.stores.observed.scan(rows.POSITION_REPORT, f"{edge_server}/")
        await self.rows.delete(rows.POSITION_REPORT, [row.name for row in reports])
        await self.rows.delete(rows.EDGE_SERVER, [edge_server])
        await self.owners.drop(edge_server)

    def _begin_lease(self, edge_server: str) -> None:
        self._leases_s[edge_server] = asyncio.get_running_loop().time() + self._timing.lease
        self._lease_began.set()

    async def _end_leases(self) -> None:
        while True:
            self._lease_began.clear()
            now_s = asyncio.get_running_loop().time()
            for edge_server in [server for server, over_s in self._leases_s.items() if over_s <= now_s]:
                if self._leases_s.get(edge_server, math.inf) > now_s:
                    continue  # while we wrote of another one it came back, here or elsewhere
                del self._leases_s[edge_server]
                if edge_server not in self.owners:
                    continue
                log.warning("agent_lost", server=edge_server, lease_s=self._timing.lease)
                status = status_of.lease_over(self.status(edge_server), self._link_address, now=clock.now())
                await self.judge(edge_server, status)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._leases_s.values(), default=None)):
                    await self._lease_began.wait()

    async def _keep_minutes(self) -> None:
        """And what else needs a look now and then."""
        while True:
            await asyncio.sleep(MINUTES_PACE_S)
            await self._write_minutes(clock.now())
            settled = self._duplicates.settled(asyncio.get_running_loop().time())
            for edge_server in (each for each in settled if each in self.owners):
                await self.judge(edge_server, status_of.single(self.status(edge_server), now=clock.now()))

    async def _write_minutes(self, now: float) -> None:
        while minutes := self.figures.finished_minutes(now=now):
            await self.stores.minutes.append(minutes, now_s=clock.now(), merge=added)
