"""Commands and live figures, wherever the agent is connected (`services.fleet_port.Fleet`).

An agent is asked by whoever has its session: we, or the peer that holds its claim. Where that peer does not answer the
agent is on its way to another one, and a moment later somebody has it.

Figures are asked of everybody at once: an agent that moves is heard from its new place without anyone having noticed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from control_plane.fleet.port import Fleet, held
from control_plane.peers.calls import PeerCalls
from control_plane.peers.membership import Membership
from control_plane.store import Claim, Claims
from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.errors import MeshError, Unavailable

log = structlog.get_logger()

MOVING_S = 5.0  # how long a command waits for an agent whose control plane has just died: it dials again at once
LOOK_AGAIN_S = 0.25


class SpreadFleet:
    """here: our own sessions."""

    def __init__(self, here: Fleet, claims: Claims, membership: Membership, calls: PeerCalls) -> None:
        self._here = here
        self._claims = claims
        self._membership = membership
        self._calls = calls

    async def command(self, edge_server: str, command: Command) -> AsyncIterator[Result]:
        loop = asyncio.get_running_loop()
        until_s, begun = loop.time() + MOVING_S, False
        while True:
            claim = await self._claim(edge_server)
            try:
                async with held(self._ask(claim, edge_server, command)) as results:
                    async for result in results:
                        begun = True
                        yield result
                return
            except Unavailable as error:
                if begun or loop.time() > until_s or await self._is_final(error, edge_server, claim):
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    async def metrics(self, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        newest = _Newest()
        listening = asyncio.create_task(self._listen_to_all(position, edge_server, newest))  # owned: ended below
        listening.add_done_callback(newest.end)
        try:
            while True:
                yield await newest.take()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _claim(self, edge_server: str) -> Claim | None:
        return (await self._claims.read([edge_server])).get(edge_server)

    def _ask(self, claim: Claim | None, edge_server: str, command: Command) -> AsyncIterator[Result]:
        peer = self._membership.others.get(claim.holder) if claim else None
        if peer is None:
            return self._here.command(edge_server, command)
        return self._calls.command(peer, edge_server, command)

    async def _is_final(self, error: Unavailable, edge_server: str, claim: Claim | None) -> bool:
        """Whoever speaks for the edge server has answered, and does so still: its agent is away."""
        if error.reason != "AGENT_DISCONNECTED" or await self._claim(edge_server) != claim:
            return False
        return claim is None or self._membership.lives(claim.holder)

    async def _listen_to_all(self, position: str, edge_server: str, newest: "_Newest") -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_take(self._here.metrics(position, edge_server), newest), name="figures-here")
            listening: dict[str, asyncio.Task[None]] = {}
            while True:
                for run, peer in self._membership.others.items():
                    if run not in listening or listening[run].done():
                        figures = self._calls.figures(peer, position, edge_server)
                        listening[run] = tasks.create_task(_take(figures, newest), name=f"figures-{run}")
                await asyncio.sleep(LOOK_AGAIN_S)


async def _take(figures: AsyncIterator[PositionMetrics], newest: "_Newest") -> None:
    """Until they end; a peer that is gone says nothing more."""
    with suppress(MeshError):
        async with held(figures):
            async for metrics in figures:
                newest.give(metrics)


class _Newest:
    """A slot: who takes slowly misses what was replaced."""

    def __init__(self) -> None:
        self._metrics: PositionMetrics | None = None
        self._fault: BaseException | None = None
        self._fresh = asyncio.Event()

    def give(self, metrics: PositionMetrics) -> None:
        self._metrics = metrics
        self._fresh.set()

    def end(self, listening: asyncio.Task[None]) -> None:
        """Nobody gives any more, by a fault of ours: whoever takes must hear of it."""
        if not listening.cancelled():
            self._fault = listening.exception()
            self._fresh.set()

    async def take(self) -> PositionMetrics:
        await self._fresh.wait()
        self._fresh.clear()
        if self._fault is not None:
            raise self._fault
        assert self._metrics is not None
        return self._metrics
