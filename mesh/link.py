"""What carries a link: the machines of mesh/link_core.py, a wire, and the owner's handler.

The child (`ChildLink.run`) dials for ever: full-jitter back-off between attempts, reset after a session that lived.
The parent (`ParentSession.serve`) lives as long as one stream. Both have one reader and one writer task; the writer
asks the machine for the next message whenever something changed or a timer is due, so a slow peer costs memory for
the newest truth only.

`Wire` is the seam that the simulator replaces; over gRPC it stands in link_grpc.py, without grpc in link_wire.py.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from mesh import link_core as core
from mesh.link_core import EMPTY, DesiredState, Item, Refusal
from mesh.waiting import in_own_task, news_within
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import (
    DeadlineExceeded,
    Denied,
    Exhausted,
    MeshError,
    Precondition,
    Unauthenticated,
    Unavailable,
)
from waypost.rpc import from_status, to_status

__all__ = [
    "EMPTY",
    "ChildHandler",
    "ChildLink",
    "DesiredState",
    "Item",
    "ParentHandler",
    "ParentSession",
    "Refusal",
    "Sessions",
    "Timing",
    "Wire",
    "WireLost",
]

log = structlog.get_logger()

COMMANDS_MAX = 16  # under way at one child; people's actions, not machines'

Sent = TypeVar("Sent", contravariant=True)
Received = TypeVar("Received", covariant=True)


class WireLost(Exception):
    """The connection is gone. What was under way may or may not have arrived."""


class Wire(Protocol[Sent, Received]):
    """One connection: messages arrive in order until it breaks, and the last ones may then be lost."""

    async def send(self, message: Sent) -> None:
        """Waits while the peer is slow. Raises: WireLost."""

    async def receive(self) -> Received | None:
        """The next message; None at an orderly end. Raises: WireLost."""

    async def close(self) -> None: ...


ChildWire = Wire[pb.ChildMessage, pb.ParentMessage]
ParentWire = Wire[pb.ParentMessage, pb.ChildMessage]
Dial = Callable[[], Awaitable[ChildWire]]
"""Opens a connection. Raises: WireLost, MeshError."""


Turn = AbstractAsyncContextManager[object]
ALONE: Turn = nullcontext()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. The parent's `lease` and `heartbeat` go to the child with its Welcome."""

    lease: float = 30.0
    """Silence after which the other side is given up: three heartbeats."""
    heartbeat: float = 10.0
    patience: float = 10.0
    """How long a child waits for its Welcome, or for a sign that its turn is to come."""
    backoff_initial: float = 0.2
    backoff_max: float = 30.0
    healthy: float = 10.0
    """A session that was on for this long resets the back-off."""
    refused: float = 60.0
    """Longest pause after the parent has refused this child itself: a person has to act first."""


LOCAL = Timing(lease=6.0, heartbeat=2.0, patience=5.0, backoff_initial=0.05, backoff_max=1.0, healthy=5.0, refused=1.0)
"""On one machine, over a Unix socket: a parent that comes back is found within a second."""


class ChildHandler(Protocol):
    """What a child's owner does with what comes down."""

    def refuse(self, item: Item) -> MeshError | None:
        """Why this item cannot be taken; None if it can. The last good one is kept in the place of a refused one."""

    async def keep(self, state: DesiredState) -> None:
        """Make it durable before returning; then act on it in your own time. Raises: MeshError where it cannot: the
        session ends, and the next one offers it again.
        """

    async def keep_epoch(self, epoch: int) -> None:
        """Make the session's number durable (or only remember it, where the parent lives on the same machine, or where
        the disk is full).
        """

    def interest(self, names: frozenset[str], pace_s: float) -> None: ...

    def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        """The pieces of an answer; id and final status are filled in here. Raises: MeshError."""

    def link_changed(self, connected: bool) -> None: ...


class ChildLink:
    """One child's link to its parent, across all connections."""

    def __init__(
        self,
        dial: Dial,
        handler: ChildHandler,
        *,
        identity: str,
        boot_id: str,
        rng: random.Random,
        held: DesiredState = EMPTY,
        epoch: int = 0,
        timing: Timing = Timing(),
        turn: Turn = ALONE,
        refused: Callable[[MeshError], None] = lambda error: None,
        redirected: Callable[[str], None] = lambda address: None,
        sets_back: Callable[[Item, Item], bool] = lambda item, held: False,
    ) -> None:
        """turn: held while it dials, and waited for: thousands of links of one process go one after the other.

        refused: called where the parent does not let this child in.

        redirected: hears the address that a parent's goodbye names, before the next `dial`.
        sets_back: whether an item of another store takes what is held back to something older.
        """
        self._redirected = redirected
        self._dial = dial
        self._handler = handler
        self._rng = rng
        self._timing = timing
        self._turn = turn
        self._core = core.ChildCore(identity, boot_id, held, epoch, sets_back=sets_back)
        self._refused = refused
        self._news = asyncio.Event()
        self._anew = asyncio.Event()
        self._not_before_s = 0.0
        self._welcomed_s = math.inf
        """When the present session, or the last one, was on; infinite where it never was."""

    # -- what goes up; never waits, never fails

    def report(self, name: str, body: bytes) -> None:
        """What is, latest wins; sent where it differs from what was sent."""
        self._core.report(name, body)
        self._news.set()

    def retract(self, name: str) -> None:
        self._core.retract(name)
        self._news.set()

    def sample(self, body: bytes) -> None:
        """Metrics: dropped oldest first while the parent is away."""
        self._core.sample(body)
        self._news.set()

    def event(self, *, time_unix_ms: int, resource: str, reason: str, message: str, source: str) -> None:
        """Kept in a bounded ring until the parent has it."""
        event = pb.ChildEvent(
            time_unix_ms=time_unix_ms, resource=resource, reason=reason, message=message, source=source
        )
        self._core.event(event)
        self._news.set()

    @property
    def connected(self) -> bool:
        return self._core.welcomed

    def redial(self) -> None:
        """Ends the session, if there is one, and dials at once: there is a better way to the parent."""
        self._anew.set()

    # -- life

    async def run(self) -> None:
        """Dials for ever; cancel it to end."""
        backoff_s = self._timing.backoff_initial
        while True:
            self._welcomed_s = math.inf
            self._anew.clear()
            try:
                await in_own_task(self._session())
            except* (Denied, Unauthenticated) as refusals:
                self._not_before_s = self._rng.uniform(0.5, 1.0) * self._timing.refused
                for refusal in refusals.exceptions:
                    if isinstance(refusal, MeshError):  # never a group: sessions have one level of tasks
                        self._refused(refusal)
            except* (WireLost, MeshError) as lost:
                log.info("link_lost", identity=self._core.identity, why=str(lost.exceptions[0]))
            if _now_s() - self._welcomed_s >= self._timing.healthy:
                backoff_s = self._timing.backoff_initial
            await news_within(self._anew, max(self._rng.uniform(0, backoff_s), self._not_before_s))
            self._not_before_s = 0.0
            backoff_s = min(backoff_s * 2, self._timing.backoff_max)

    async def _session(self) -> None:
        try:
            async with self._turn, asyncio.timeout(self._timing.patience):
                wire = await self._dial()
        except TimeoutError as error:
            raise WireLost("no connection in time") from error
        self._core.connect(_now_s(), self._timing.patience)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(wire), name="link-writer")
                tasks.create_task(self._end_to_redial(), name="link-redial")
                await self._read(wire, tasks)
                raise WireLost("the parent ended the session")
        finally:
            was_on = self._core.welcomed
            self._core.disconnect()
            if was_on:
                self._handler.link_changed(False)
            await wire.close()

    async def _end_to_redial(self) -> None:
        await self._anew.wait()
        raise WireLost("there is a better way to the parent")

    async def _write(self, wire: ChildWire) -> None:
        while True:
            self._news.clear()
            while (message := self._core.next_message(_now_s())) is not None:
                await _send(wire, message, self._timing.lease)
            await news_within(self._news, self._core.next_s() - _now_s())
            if self._core.expired(_now_s()):
                raise WireLost("the parent has been silent for its lease")

    async def _read(self, wire: ChildWire, tasks: asyncio.TaskGroup) -> None:
        running: set[asyncio.Task[None]] = set()
        while (message := await wire.receive()) is not None:
            for effect in self._core.receive(message, _now_s()):
                match effect:
                    case core.Welcomed(epoch=epoch):
                        await self._handler.keep_epoch(epoch)
                        self._welcomed_s = _now_s()
                        self._handler.link_changed(True)
                    case core.Offered(state=state, stale=stale):
                        await self._take(state, stale)
                    case core.InterestSet(names=names, pace_s=pace_s):
                        self._handler.interest(names, pace_s)
                    case core.Commanded(command=command):
                        self._start(command, running, tasks)
                    case core.Left(reason=reason, reconnect_after_s=after_s, alternate=alternate):
                        self._not_before_s = after_s
                        if alternate:
                            self._redirected(alternate)
                        raise WireLost(f"the parent said goodbye: {reason}")
                    case core.Broken(reason=reason, message=text):
                        raise Precondition(reason, text)
            self._news.set()

    async def _take(self, state: DesiredState, stale: Sequence[Refusal]) -> None:
        refusals = [*stale]
        for item in state.items.values():
            error = None if item == self._core.held.items.get(item.name) else self._handler.refuse(item)
            if error is not None:
                refusals.append(Refusal(item.name, item.generation, to_status(error)))
        merged = self._core.merged(state, refusals)
        await self._handler.keep(merged)
        self._core.keep(merged)

    def _start(self, command: commands.Command, running: set[asyncio.Task[None]], tasks: asyncio.TaskGroup) -> None:
        if len(running) >= COMMANDS_MAX:
            error = Exhausted("TOO_MANY_COMMANDS", f"{COMMANDS_MAX} commands are under way already", "try again")
            self._core.result(commands.Result(id=command.id, status=to_status(error)))
            return
        task = tasks.create_task(self._answer(command), name=f"command-{command.id}")
        running.add(task)
        task.add_done_callback(running.discard)

    async def _answer(self, command: commands.Command) -> None:
        last = commands.Result(id=command.id)
        last.status.code = 0
        try:
            async for piece in self._handler.command(command):
                piece.id = command.id
                await self._room_for_result()
                self._core.result(piece)
                self._news.set()
        except MeshError as error:
            last.status.CopyFrom(to_status(error))
        self._core.result(last)
        self._news.set()

    async def _room_for_result(self) -> None:
        while self._core.results_waiting >= core.RESULTS_MAX:
            self._news.set()
            await asyncio.sleep(0.01)  # the writer empties it as fast as the wire takes it


class ParentHandler(Protocol):
    """What a parent does with one child's session."""

    async def admit(self, hello: pb.Hello) -> int:
        """The number of this session, higher than any before, durably so where that matters. Raises: MeshError."""

    async def desired(self) -> DesiredState:
        """What the child should hold now."""

    async def may_prune(self, held: pb.Applied) -> bool:
        """Whether it is meant where `desired` leaves out what the child holds (see Desired.allow_prune)."""

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        """The child holds this, but for what it refused; a refusal without a name is of the whole offer."""

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None: ...

    async def metrics(self, samples: Sequence[bytes]) -> None: ...

    async def events(self, events: Sequence[pb.ChildEvent]) -> None:
        """Keep them before returning; they may come twice."""

    async def link_changed(self, connected: bool) -> None: ...


class ParentSession:
    """One stream of one child."""

    def __init__(
        self,
        handler: ParentHandler,
        *,
        timing: Timing = Timing(),
    ) -> None:
        self._handler = handler
        self._core = core.ParentCore(_now_s(), timing.lease, timing.heartbeat)
        self._news = asyncio.Event()
        self._stale = True
        self._ending = asyncio.Event()
        self._over = False
        self._dropped = 0
        self.events_lost = 0
        """That the child had to drop before those that the handler has heard in this session."""
        self._answers: dict[str, asyncio.Queue[commands.Result]] = {}
        self._accepted: int | None = None
        """The version that the handler was last told that the child holds, but for what it refused."""
        self._refused: Sequence[Refusal] = ()

    @property
    def identity(self) -> str:
        """Who the child said it is; empty before its Hello."""
        return self._core.hello.identity if self._core.hello else ""

    @property
    def hello(self) -> pb.Hello | None:
        return self._core.hello

    def poke(self) -> None:
        """Desired state may have changed: look again."""
        self._stale = True
        self._news.set()

    def set_interest(self, names: Sequence[str], pace_s: float) -> None:
        self._core.set_interest(names, pace_s)
        self._news.set()

    def end(self, reason: str, reconnect_after_s: float = 0.0, alternate: str = "") -> None:
        """Says goodbye and ends the session soon. alternate: `host:port` where the child may try instead."""
        self._core.goodbye(reason, reconnect_after_s, alternate)
        self._ending.set()
        self._news.set()

    async def call(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        """The pieces of the answer. Raises: MeshError of the child; Unavailable where the session ends before."""
        if self._over:
            raise self._lost()
        answers: asyncio.Queue[commands.Result] = asyncio.Queue()
        self._answers[command.id] = answers
        try:
            self._core.command(command, _now_s())
            self._news.set()
            while True:
                piece = await answers.get()
                if piece.HasField("status"):
                    if piece.status.code:
                        raise from_status(piece.status)
                    return
                yield piece
        finally:
            del self._answers[command.id]

    async def serve(self, wire: ParentWire) -> None:
        """Lives until the stream ends, the lease runs out or `end` is called. Raises: MeshError to tell the child."""
        refusals: Sequence[BaseException] = ()  # raised in `except*` they are a group, but not in every Python 3.11
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(wire), name="link-writer")
                reader = tasks.create_task(self._read(wire), name="link-reader")
                await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
                writer.cancel()
                reader.cancel()
        except* WireLost as lost:
            log.info("child_lost", identity=self.identity, why=str(lost.exceptions[0]))
        except* MeshError as errors:
            refusals = errors.exceptions
        finally:
            self._over = True
            for answers in self._answers.values():
                answers.put_nowait(commands.Result(status=to_status(self._lost())))
            if self._core.welcomed:
                await self._handler.link_changed(False)
        for refusal in refusals:
            raise refusal

    def _lost(self) -> Unavailable:
        return Unavailable("CHILD_LOST", f"the connection to {self.identity} ended", "try again when it is back")

    async def _write(self, wire: ParentWire) -> None:
        while True:
            self._news.clear()
            if self._stale and self._core.welcomed:
                self._stale = False
                state = await self._handler.desired()
                self._core.desire(state, allow_prune=await self._handler.may_prune(self._core.held))
            await self._tell_held()
            for command in self._core.overdue(_now_s()):
                self._tell_overdue(command)
            while (message := self._core.next_message(_now_s())) is not None:
                await _send(wire, message, self._core.lease_s)
            if self._ending.is_set():
                return
            await news_within(self._news, self._core.next_s() - _now_s())
            if self._core.expired(_now_s()):
                raise WireLost("silent for its lease")

    async def _tell_held(self) -> None:
        """Where nothing is to be sent, no Ack will say that the newest version is held. And what the child came with,
        of this very store, nobody may have heard of: its Ack may have been lost.
        """
        version = self._core.agreed
        if version is None and self._accepted is None:
            version = self._core.came_with
        if version is not None and version != self._accepted and not self._ending.is_set():
            await self._accept(version, self._refused)

    async def _accept(self, version: int, refused: Sequence[Refusal]) -> None:
        self._accepted, self._refused = version, refused
        await self._handler.accepted(version, refused)

    def _tell_overdue(self, command: commands.Command) -> None:
        error = DeadlineExceeded("TOO_LATE", "the connection had no room for the command in time", "try again")
        if (answers := self._answers.get(command.id)) is not None:
            answers.put_nowait(commands.Result(id=command.id, status=to_status(error)))

    async def _read(self, wire: ParentWire) -> None:
        while (message := await wire.receive()) is not None:
            for effect in self._core.receive(message, _now_s()):
                await self._handle(effect)
            self._news.set()

    async def _handle(self, effect: core.ParentEffect) -> None:
        match effect:
            case core.Greeted(hello=hello):
                self._refused = tuple(map(Refusal.of, hello.refused))
                epoch = await self._handler.admit(hello)
                self._core.welcome(epoch, _now_s())
                await self._handler.link_changed(True)
            case core.Accepted(version=version, refusals=refusals):
                await self._accept(version, refusals)
            case core.StatusArrived(items=items, full=full):
                await self._handler.status(items, full)
            case core.MetricsArrived(samples=samples, dropped=dropped):
                self._note_dropped(dropped)
                await self._handler.metrics(samples)
            case core.EventsArrived(events=events, lost=lost):
                if lost:
                    self.events_lost += lost
                    log.warning("events_lost", identity=self.identity, lost=lost)
                await self._handler.events(events)
                self._core.events_taken(events[-1].sequence)
            case core.ResultArrived(result=result):
                if (answers := self._answers.get(result.id)) is not None:
                    answers.put_nowait(result)
            case core.Left(reason=reason):
                raise WireLost(f"the child said goodbye: {reason}")
            case core.Broken(reason=reason, message=text):
                raise Precondition(reason, text)

    def _note_dropped(self, dropped: int) -> None:
        """dropped: samples since the link began, so that only a rise is news."""
        if dropped > self._dropped:
            self._dropped = dropped
            log.info("samples_dropped", identity=self.identity, since_link_began=dropped)


class Sessions:
    """The living sessions of a parent, one per child: a newer one supersedes an older one."""

    def __init__(self) -> None:
        self._by_identity: dict[str, ParentSession] = {}

    def get(self, identity: str) -> ParentSession | None:
        return self._by_identity.get(identity)

    def all(self) -> list[ParentSession]:
        return list(self._by_identity.values())

    def enter(self, identity: str, session: ParentSession) -> None:
        """From now on `session` speaks for the child; the one before is told so and ends."""
        before = self._by_identity.get(identity)
        self._by_identity[identity] = session
        if before is not None and before is not session:
            before.end("SUPERSEDED")

    def leave(self, identity: str, session: ParentSession) -> bool:
        """True where `session` still spoke for the child; False where a newer one does."""
        if self._by_identity.get(identity) is not session:
            return False
        del self._by_identity[identity]
        return True


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _send(wire: Wire[Any, Any], message: object, lease_s: float) -> None:
    """A peer that takes nothing for a lease is gone, though its connection may stand."""
    try:
        async with asyncio.timeout(lease_s):
            await wire.send(message)
    except TimeoutError as error:
        raise WireLost("the peer took no message for a lease") from error
