"""What a parent's owner is told of a child, on virtual time."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
import structlog

from mesh.link import DesiredState, Item, ParentSession, Refusal
from tests.sim.virtual import run
from waypost.api.link.v1 import link_pb2 as pb


class Owner:
    """Of a store called `ours`, which wants `version` of one item."""

    def __init__(self, version: int) -> None:
        self.told: list[int] = []
        """Versions that the child is said to hold."""
        self.asked = 0
        """How often somebody has read what it wants."""
        self._wanted = DesiredState.of("ours", version, [Item("a", version, b"spec")])

    async def admit(self, hello: pb.Hello) -> int:
        return 1

    async def desired(self) -> DesiredState:
        self.asked += 1
        return self._wanted

    async def may_prune(self, held: pb.Applied) -> bool:
        return False

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        self.told.append(version)

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None: ...

    async def metrics(self, samples: Sequence[bytes]) -> None: ...

    async def events(self, events: Sequence[pb.ChildEvent]) -> None: ...

    async def link_changed(self, connected: bool) -> None: ...


class Wire:
    """A child that greets, and takes what it is offered if it is told to."""

    def __init__(self, applied: pb.Applied, *, takes: bool) -> None:
        self._takes = takes
        self._said: asyncio.Queue[pb.ChildMessage] = asyncio.Queue()
        hello = pb.Hello(identity="child", boot_id="b", protocol_min=1, protocol_max=1, applied=applied)
        self._said.put_nowait(pb.ChildMessage(hello=hello))

    async def send(self, message: pb.ParentMessage) -> None:
        if self._takes and message.HasField("desired"):
            self._said.put_nowait(pb.ChildMessage(ack=pb.Ack(applied=message.desired.target)))

    async def receive(self) -> pb.ChildMessage | None:
        return await self._said.get()

    def says(self, message: pb.ChildMessage) -> None:
        self._said.put_nowait(message)

    async def close(self) -> None: ...


def told(applied: pb.Applied, *, takes: bool = False) -> Owner:
    """An owner who wants version 7, some seconds after a child greeted that holds `applied`."""

    async def scenario() -> Owner:
        owner = Owner(7)
        session = asyncio.create_task(ParentSession(owner).serve(Wire(applied, takes=takes)))
        await asyncio.sleep(5.0)
        session.cancel()
        await asyncio.wait({session})
        return owner

    return run(scenario())


def held(version: int, incarnation: str = "ours") -> pb.Applied:
    state = DesiredState.of(incarnation, version, [Item("a", version, b"spec")])
    return pb.Applied(incarnation=incarnation, version=version, hash=state.hash)


@pytest.mark.parametrize(
    ("applied", "versions"),
    [
        (held(5), [5]),  # its Ack may have been lost, and the answer to the offer of 7 may be long in coming
        (held(7), [7]),
        (held(9, "another"), []),  # a number of another store says nothing here
        (pb.Applied(), []),
    ],
)
def test_what_a_child_came_with_is_told(applied: pb.Applied, versions: list[int]) -> None:
    assert told(applied).told == versions


def test_what_a_child_came_with_is_told_before_what_it_takes() -> None:
    assert told(held(5), takes=True).told == [5, 7]


def test_samples_that_a_child_dropped_are_told_once() -> None:
    async def scenario() -> None:
        wire = Wire(pb.Applied(), takes=False)
        for dropped in (0, 3, 3, 4):
            wire.says(pb.ChildMessage(metrics=pb.Metrics(samples=[b"sample"], dropped=dropped)))
        session = asyncio.create_task(ParentSession(Owner(7)).serve(wire))
        await asyncio.sleep(1.0)
        session.cancel()
        await asyncio.wait({session})

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    assert [told["since_link_began"] for told in logs if told["event"] == "samples_dropped"] == [3, 4]


def test_what_is_wanted_is_read_once_for_a_session() -> None:
    assert told(held(5)).asked == 1
