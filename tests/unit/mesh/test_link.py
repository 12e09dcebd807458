"""How a child dials, on virtual time: quickly where a session was on for a while, ever more slowly where none is."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from mesh.link import ALONE, COMMANDS_MAX, ChildLink, DesiredState, Dial, Item, Timing, Turn, WireLost
from mesh.link_core import Accepted, Greeted, ParentCore
from mesh.waiting import news_within
from tests.sim.virtual import run
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import Denied, Exhausted, MeshError

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


class Forgetful(Owner):
    full = True

    async def keep(self, state: DesiredState) -> None:
        if self.full:
            raise Exhausted("DISK_FULL", "no space left")


class _Offers:
    """A welcome, and then the same desired state with each heartbeat, until it is acknowledged."""

    def __init__(self) -> None:
        self.dials = 0
        self.acknowledged: list[int] = []
        self._core = ParentCore(0.0, TIMING.lease, TIMING.heartbeat)
        self._heard = asyncio.Event()

    async def send(self, message: pb.ChildMessage) -> None:
        for effect in self._core.receive(message, self._now_s):
            match effect:
                case Greeted():
                    self._core.welcome(1, self._now_s)
                    self._core.desire(DesiredState.of("store", 7, [Item("a", 1, b"")]))
                case Accepted(version=version):
                    self.acknowledged.append(version)
        self._heard.set()

    async def receive(self) -> pb.ParentMessage | None:
        while (message := self._core.next_message(self._now_s)) is None:
            self._heard.clear()
            await news_within(self._heard, self._core.next_s() - self._now_s)
        return message

    async def close(self) -> None: ...

    @property
    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def dials(parent: Parent) -> int:
    """How often a child dials this parent within LIFE_S."""

    async def scenario() -> None:
        link = _link(parent.dial)
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


def test_a_parent_that_refuses_the_child_is_asked_seldom_and_the_refusal_is_told() -> None:
    told: list[str] = []
    dialled: list[float] = []

    async def refuse() -> _Wire:
        dialled.append(asyncio.get_running_loop().time())
        raise Denied("EDGE_SERVER_REVOKED", "it was revoked")

    async def scenario() -> None:
        link = _link(refuse, refused=lambda error: told.append(error.reason))
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(link.run())
            await asyncio.sleep(LIFE_S)
            life.cancel()

    run(scenario())
    pauses = [after - before for before, after in pairwise(dialled)]
    assert pauses
    assert all(TIMING.refused / 2 <= pause <= TIMING.refused for pause in pauses)
    assert told == ["EDGE_SERVER_REVOKED"] * len(dialled)


def test_a_better_way_to_the_parent_is_taken_at_once_from_a_session_and_from_a_pause() -> None:
    worse, better = Parent(welcomes=True, lives_s=1000.0), Parent(welcomes=True, lives_s=1000.0)
    ways = [worse]

    async def scenario() -> None:
        link = _link(lambda: ways[-1].dial())
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(link.run())
            await asyncio.sleep(20.0)
            ways.append(better)
            link.redial()
            await asyncio.sleep(TIMING.backoff_initial + 0.1)
            assert link.connected
            life.cancel()

    run(scenario())
    assert (worse.dials, better.dials) == (1, 1)


def test_a_child_waits_for_its_turn_to_dial_and_that_is_no_failure() -> None:
    parent, turn = Parent(welcomes=True, lives_s=LIFE_S), asyncio.Semaphore(1)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            async with turn:
                life = tasks.create_task(_link(parent.dial, turn=turn).run())
                await asyncio.sleep(5 * TIMING.patience)
                assert parent.dials == 0
            await asyncio.sleep(TIMING.backoff_initial)
            assert parent.dials == 1
            assert not turn.locked()
            life.cancel()

    run(scenario())


@pytest.mark.parametrize("turns", range(8))
def test_a_child_that_is_told_to_end_ends_though_its_session_fails_at_that_moment(turns: int) -> None:
    """The session takes some turns of the loop to come to its end."""
    parent = Parent(welcomes=True, lives_s=1000.0)

    async def scenario() -> None:
        link = _link(parent.dial)
        async with asyncio.timeout(TIMING.patience), asyncio.TaskGroup() as tasks:
            life = tasks.create_task(link.run())
            await asyncio.sleep(TIMING.patience / 2)
            link.redial()
            for _ in range(turns):
                await asyncio.sleep(0)
            life.cancel()

    run(scenario())


class Commander:
    """Takes one connection, welcomes the child, tells it to do what it is given, and keeps how that ended."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        """By the command's id: empty, or the message of the error."""
        self._messages: asyncio.Queue[pb.ParentMessage] = asyncio.Queue()
        welcome = pb.ParentMessage(welcome=pb.Welcome(protocol=1, epoch=1))
        welcome.welcome.lease.FromSeconds(30)
        welcome.welcome.heartbeat.FromSeconds(10)
        self._messages.put_nowait(welcome)

    def order(self, id_: str) -> None:
        self._messages.put_nowait(pb.ParentMessage(command=commands.Command(id=id_)))

    async def dial(self) -> "Commander":
        return self

    async def send(self, message: pb.ChildMessage) -> None:
        if message.HasField("result") and message.result.HasField("status"):
            self.ended[message.result.id] = message.result.status.message

    async def receive(self) -> pb.ParentMessage | None:
        return await self._messages.get()

    async def close(self) -> None: ...


class Busy(Owner):
    """Answers no command before it is let."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        await self.over.wait()
        yield commands.Result()


def test_a_child_with_too_many_commands_under_way_refuses_further_ones_until_some_are_over() -> None:
    async def scenario() -> None:
        parent, owner = Commander(), Busy()
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(_link(parent.dial, owner=owner).run())
            for number in range(COMMANDS_MAX + 1):
                parent.order(str(number))
            await asyncio.sleep(1.0)
            assert list(parent.ended) == [str(COMMANDS_MAX)]
            assert f"{COMMANDS_MAX} commands are under way" in parent.ended[str(COMMANDS_MAX)]
            owner.over.set()
            await asyncio.sleep(1.0)
            parent.order("later")
            await asyncio.sleep(1.0)
            assert len(parent.ended) == COMMANDS_MAX + 2
            assert [id_ for id_, error in parent.ended.items() if error] == [str(COMMANDS_MAX)]
            life.cancel()

    run(scenario())


def _link(
    dial: Dial,
    refused: Callable[[MeshError], None] = lambda error: None,
    turn: Turn = ALONE,
    owner: Owner | None = None,
) -> ChildLink:
    return ChildLink(
        dial,
        owner or Owner(),
        identity="edgeServers/e",
        boot_id="b",
        rng=random.Random(1),
        turn=turn,
        refused=refused,
    )
