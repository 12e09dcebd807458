"""How a child dials, on virtual time: quickly where a session was on for a while, ever more slowly where none is."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mesh.link import ChildLink, DesiredState, Item, Timing, WireLost
from tests.sim.virtual import run
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import MeshError

LIFE_S = 1000.0
TIMING = Timing()


@dataclass
class Parent:
    """Takes every connection; welcomes the child or says nothing, and is gone after a while."""

    welcomes: bool
    lives_s: float
    dials: int = 0

    async def dial(self) -> "_Wire":
        self.dials += 1
        return _Wire(self)


class _Wire:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._welcomed = not parent.welcomes

    async def send(self, message: pb.ChildMessage) -> None: ...

    async def receive(self) -> pb.ParentMessage | None:
        if self._welcomed:
            await asyncio.sleep(self._parent.lives_s)
            raise WireLost("killed")
        self._welcomed = True
        message = pb.ParentMessage(welcome=pb.Welcome(protocol=1, epoch=self._parent.dials))
        message.welcome.lease.FromSeconds(30)
        message.welcome.heartbeat.FromSeconds(10)
        return message

    async def close(self) -> None: ...


class Owner:
    def refuse(self, item: Item) -> MeshError | None:
        return None

    async def keep(self, state: DesiredState) -> None: ...

    async def keep_epoch(self, epoch: int) -> None: ...

    def interest(self, names: frozenset[str], pace_s: float) -> None: ...

    async def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        yield commands.Result()

    def link_changed(self, connected: bool) -> None: ...


def dials(parent: Parent) -> int:
    """How often a child dials this parent within LIFE_S."""

    async def scenario() -> None:
        link = ChildLink(
            parent.dial, Owner(), identity="edgeServers/e", boot_id="b", software_version="1", rng=random.Random(1)
        )
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(link.run())
            await asyncio.sleep(LIFE_S)
            life.cancel()

    run(scenario())
    return parent.dials


def test_a_parent_that_is_killed_again_and_again_is_found_again_quickly() -> None:
    assert dials(Parent(welcomes=True, lives_s=12.0)) >= LIFE_S / (12.0 + TIMING.backoff_initial)


def test_a_parent_that_drops_every_session_at_once_is_left_alone_more_and_more() -> None:
    assert dials(Parent(welcomes=True, lives_s=0.1)) <= 2 * LIFE_S / (TIMING.backoff_max / 2)


def test_a_parent_that_takes_connections_and_says_nothing_is_left_alone_more_and_more() -> None:
    once_s = TIMING.patience + TIMING.backoff_max / 2
    assert dials(Parent(welcomes=False, lives_s=100.0)) <= 1.5 * LIFE_S / once_s
