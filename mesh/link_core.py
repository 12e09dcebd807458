"""The brain of every link: two pure state machines, one for the child that dials and one for its parent.

    child                                   parent
      | Hello(identity, what it holds) ------> |
      | <------ Heartbeat --------------------- |      where the child must wait for its turn
      | <------ Welcome(epoch, lease, heartbeat)|      an older epoch is over
      | <------ Desired(snapshot or difference) |      only where hashes differ
      | Ack(what it holds durably) ------------>|
      | Status, Metrics, Events, Results ------>|
      | <------ Interest, Command, EventsAck    |
      | <------ Heartbeat -------------------->  |      silence for a lease ends the session

Nothing is queued. Each side keeps the newest truth (desired state here, status per resource there) and what the other
one is known to hold; `next_message` compares the two when the wire is free. So a slow wire coalesces instead of piling
up, and losing, repeating or delaying a message is mended by the next one. Commands and their results are the exception:
they are carried once, within bounds, and end with the session.

No clock, no randomness, no I/O: time comes in as `now_s` (the caller's monotonic clock), messages and effects go out as
values. mesh/link.py drives these machines over gRPC; tests/sim drives them over a network that loses things.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from google.rpc import status_pb2

from mesh.times import duration, seconds
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import Precondition
from waypost.rpc import to_status

PROTOCOL_MIN = PROTOCOL_MAX = 1  # what this software speaks; a new version is spoken beside the one before for a year
DESIRED_BYTES_MAX = 1 << 20  # per message; a larger desired state travels in several
STATUS_BYTES_MAX = 1 << 20  # per message; the rest goes with the next
EVENTS_MAX = 512  # kept by a child whose parent is away: enough for a bad day of a few positions
EVENTS_PER_MESSAGE = 64
SAMPLES_MAX = 64  # metrics waiting for the wire; the oldest are dropped first
RESULTS_MAX = 16  # pieces waiting for the wire; the producer waits beyond that

WAITS = "waits"
"""Capability of a child that waits for its Welcome while heartbeats tell it that its Hello was heard.

In a crowd whoever hangs up and dials again has shaken hands in vain, and stands at the end of the line.
"""

_SPOKEN = f"{PROTOCOL_MIN}..{PROTOCOL_MAX}"


# ---- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of desired state. `body` is opaque here."""

    name: str
    generation: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """An item that a child cannot take, and why."""

    name: str
    generation: int
    error: status_pb2.Status

    @classmethod
    def of(cls, message: pb.ItemError) -> "Refusal":
        return cls(message.name, message.generation, message.error)

    def message(self) -> pb.ItemError:
        return pb.ItemError(name=self.name, generation=self.generation, error=self.error)


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A whole desired state, named by the store that numbered it, its number and its hash.

    What a child holds carries the hash of what it was sent, also where it refused an item and kept an older one.
    """

    incarnation: str
    version: int
    items: Mapping[str, Item]
    hash: str
    refused: tuple[Refusal, ...] = ()
    """In a child: the items that are not what was sent."""

    @classmethod
    def of(cls, incarnation: str, version: int, items: Iterable[Item]) -> "DesiredState":
        by_name = {item.name: item for item in items}
        return cls(incarnation, version, MappingProxyType(by_name), hash_of(by_name.values()))

    def applied(self) -> pb.Applied:
        return pb.Applied(incarnation=self.incarnation, version=self.version, hash=self.hash)


def hash_of(items: Iterable[Item]) -> str:
    """sha256 over the sorted (name, generation, sha256 of the body), hex."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.name):
        digest.update(f"{item.name}\0{item.generation}\0{hashlib.sha256(item.body).hexdigest()}\n".encode())
    return digest.hexdigest()


EMPTY = DesiredState.of("", 0, ())


# ---- effects: what the caller must do now ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The session is on."""

    epoch: int
    lease_s: float
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class Offered:
    """Merge it with what is refused of it, make that durable, then call `ChildCore.keep`.

    Items in `stale` are older than what is held.
    """

    state: DesiredState
    stale: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class InterestSet:
    names: frozenset[str]
    pace_s: float


@dataclass(frozen=True, slots=True)
class Commanded:
    command: commands.Command


@dataclass(frozen=True, slots=True)
class Left:
    """The other side said goodbye: end the session."""

    reason: str
    reconnect_after_s: float
    alternate: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The other side broke the protocol or is over: end the session."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Greeted:
    """First effect in a parent: who dials. Answer with `ParentCore.welcome`."""

    hello: pb.Hello


@dataclass(frozen=True, slots=True)
class Accepted:
    """The child holds this durably."""

    version: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class StatusArrived:
    items: Mapping[str, pb.StatusItem]
    full: bool


@dataclass(frozen=True, slots=True)
class MetricsArrived:
    samples: Sequence[bytes]
    dropped: int


@dataclass(frozen=True, slots=True)
class EventsArrived:
    """Call `ParentCore.events_taken` once they are kept."""

    events: Sequence[pb.ChildEvent]
    lost: int
    """Before these, by the gap in their numbers: the child had to drop them. Told again where its session is lost."""


@dataclass(frozen=True, slots=True)
class ResultArrived:
    result: commands.Result


ChildEffect = Welcomed | Offered | InterestSet | Commanded | Left | Broken
ParentEffect = Greeted | Accepted | StatusArrived | MetricsArrived | EventsArrived | ResultArrived | Left | Broken


# ---- timing, the same on both sides ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Pulse:
    """When this side must speak, and when it gives the other one up."""

    heartbeat_s: float
    lease_s: float
    sent_s: float
    heard_s: float

    def expired(self, now_s: float) -> bool:
        return now_s >= self.heard_s + self.lease_s

    def must_speak(self, now_s: float) -> bool:
        return now_s >= self.sent_s + self.heartbeat_s

    def next_s(self, *, speaks: bool) -> float:
        """When to look again, if nothing happens before. A side that may not speak yet only waits for the lease."""
        expires_s = self.heard_s + self.lease_s
        return min(expires_s, self.sent_s + self.heartbeat_s) if speaks else expires_s


# ---- the child -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ChildCore:
    """One child, across all of its sessions."""

    identity: str
    boot_id: str
    held: DesiredState = EMPTY
    epoch: int = 0
    capabilities: tuple[str, ...] = (WAITS,)
    sets_back: Callable[[Item, Item], bool] = lambda item, held: False
    """Whether an item of another store than what is held takes that back to something older. Pure."""

    _status: dict[str, pb.StatusItem] = field(default_factory=dict)
    _unsent: dict[str, None] = field(default_factory=dict)
    _samples: list[bytes] = field(default_factory=list)
    _dropped: int = 0
    _events: list[pb.ChildEvent] = field(default_factory=list)
    _event_sequence: int = 0
    _events_taken: int = 0
    _session: "_ChildSession | None" = None
    _asked_again: bool = False

    # -- told by the owner, in a session or not

    def report(self, name: str, body: bytes) -> None:
        """What is, latest wins. Nothing is sent where it says the same as before."""
        item = pb.StatusItem(name=name, body=body)
        if self._status.get(name) != item:
            self._status[name] = item
            self._unsent[name] = None

    def retract(self, name: str) -> None:
        """It is no more."""
        if self._status.pop(name, None) is not None:
            self._unsent[name] = None

    def sample(self, body: bytes) -> None:
        self._samples.append(body)
        if len(self._samples) > SAMPLES_MAX:
            del self._samples[0]
            self._dropped += 1

    def event(self, event: pb.ChildEvent) -> None:
        """Numbers the event and keeps it until the parent has it, or the ring is full."""
        self._event_sequence += 1
        event.sequence = self._event_sequence
        self._events.append(event)
        del self._events[:-EVENTS_MAX]

    def result(self, piece: commands.Result) -> None:
        """A piece of an answer; forgotten where the session that asked is over."""
        if self._session is not None:
            self._session.results.append(piece)

    @property
    def results_waiting(self) -> int:
        return len(self._session.results) if self._session else 0

    # -- sessions

    def connect(self, now_s: float, patience_s: float) -> None:
        """A wire is there: begin. Within `patience_s` the parent must have answered Hello."""
        self._session = _ChildSession(_Pulse(patience_s, patience_s, now_s, now_s))
        self._unsent = dict.fromkeys(self._status)

    def disconnect(self) -> None:
        self._session = None

    @property
    def welcomed(self) -> bool:
        return self._session is not None and self._session.welcomed

    def expired(self, now_s: float) -> bool:
        """The parent was silent for a lease."""
        return self._session is not None and self._session.pulse.expired(now_s)

    def next_s(self) -> float:
        assert self._session is not None
        return self._session.pulse.next_s(speaks=self.welcomed)

    def receive(self, message: pb.ParentMessage, now_s: float) -> list[ChildEffect]:
        session = self._session
        assert session is not None
        session.pulse.heard_s = now_s
        match message.WhichOneof("kind"):
            case "welcome":
                return [self._welcome(message.welcome, now_s)]
            case "heartbeat":
                return []  # before the Welcome: it is to come
            case _ if not session.welcomed:
                return [Broken("NOT_WELCOMED", "the parent spoke before its Welcome")]
            case "desired":
                return self._desire(message.desired)
            case "interest":
                interest = message.interest
                return [InterestSet(frozenset(interest.names), seconds(interest.pace))]
            case "command":
                return [Commanded(message.command)]
            case "events_ack":
                taken = message.events_ack.sequence
                self._events_taken = max(self._events_taken, taken)
                self._events = [event for event in self._events if event.sequence > taken]
                session.events_sent = max(session.events_sent, taken)
            case "goodbye":
                return [_left(message.goodbye)]
        return []  # a kind that a newer parent knows

    def _welcome(self, welcome: pb.Welcome, now_s: float) -> ChildEffect:
        session = self._session
        assert session is not None
        if welcome.epoch < self.epoch:
            return Broken("FENCED", f"session {welcome.epoch} is older than {self.epoch}, which this child has seen")
        if not PROTOCOL_MIN <= welcome.protocol <= PROTOCOL_MAX:
            return Broken("PROTOCOL", f"the parent chose protocol {welcome.protocol}, this child speaks {_SPOKEN}")
        self.epoch = welcome.epoch
        session.welcomed = True
        lease_s, heartbeat_s = seconds(welcome.lease), seconds(welcome.heartbeat)
        session.pulse = _Pulse(heartbeat_s, lease_s, session.pulse.sent_s, now_s)
        return Welcomed(self.epoch, lease_s, heartbeat_s)

    def _desire(self, desired: pb.Desired) -> list[ChildEffect]:
        session = self._session
        assert session is not None
        if session.partial and session.partial[0].target != desired.target:
            session.partial.clear()  # the parent moved on in the middle
        session.partial.append(desired)
        if desired.more:
            return []
        pieces, session.partial = session.partial, []
        state = self._assembled(pieces)
        if state is None:
            session.ack = pb.Ack(applied=self.held.applied())  # says what we hold: a snapshot follows
            return []
        if not desired.allow_prune and (lost := self._pruned(state)):
            session.ack = pb.Ack(applied=self.held.applied(), errors=[_prune_refused(lost, self.held)])
            return []
        if not desired.allow_prune and (older := self._set_back(state)):
            session.ack = pb.Ack(applied=self.held.applied(), errors=[_set_back_refused(older, self.held)])
            return []
        return [Offered(state, self._stale(state))]

    def _pruned(self, state: DesiredState) -> Sequence[str]:
        """What must not be taken away by mistake, and `state` would."""
        if state.items and state.incarnation == self.held.incarnation:
            return ()
        return sorted(self.held.items.keys() - state.items.keys())

    def _set_back(self, state: DesiredState) -> Sequence[str]:
        """What a store that was restored from an old backup must not undo by mistake, and `state` would."""
        if state.incarnation == self.held.incarnation:
            return ()  # here generations say it: `_stale`
        pairs = ((item, self.held.items.get(item.name)) for item in state.items.values())
        return sorted(item.name for item, held in pairs if held and self.sets_back(item, held))

    def _assembled(self, pieces: Sequence[pb.Desired]) -> DesiredState | None:
        """The state that the pieces describe; None where they do not fit on what is held or are not what they say."""
        first = pieces[0]
        items: dict[str, Item] = {}
        if first.HasField("base"):
            if first.base.hash != self.held.hash or first.base.incarnation != self.held.incarnation:
                return None
            items.update(self.held.items)
        for piece in pieces:
            items.update({item.name: Item(item.name, item.generation, item.body) for item in piece.upserts})
            for name in piece.removes:
                items.pop(name, None)
        if hash_of(items.values()) != first.target.hash:
            return None
        return DesiredState(first.target.incarnation, first.target.version, MappingProxyType(items), first.target.hash)

    def _stale(self, state: DesiredState) -> tuple[Refusal, ...]:
        if state.incarnation != self.held.incarnation:
            return ()  # numbers of another store say nothing
        pairs = ((item, self.held.items.get(item.name)) for item in state.items.values())
        return tuple(_stale(item, held) for item, held in pairs if held and item.generation < held.generation)

    def merged(self, state: DesiredState, refusals: Sequence[Refusal]) -> DesiredState:
        """`state` with the last good item, or none, in the place of each refused one: what to hold."""
        items = dict(state.items)
        for refusal in refusals:
            items.pop(refusal.name, None)
            if refusal.name in self.held.items:
                items[refusal.name] = self.held.items[refusal.name]
        return DesiredState(state.incarnation, state.version, MappingProxyType(items), state.hash, tuple(refusals))

    def keep(self, state: DesiredState) -> None:
        """`state` (merged) is durable now; the parent is told."""
        self.held = state
        self._asked_again = True
        if self._session is not None:
            errors = [refusal.message() for refusal in state.refused]
            self._session.ack = pb.Ack(applied=state.applied(), errors=errors)

    def next_message(self, now_s: float) -> pb.ChildMessage | None:
        """What to send now that the wire is free; None if nothing."""
        session = self._session
        assert session is not None
        message = self._hello(session) if not session.greeted else self._next(session, now_s)
        if message is not None:
            session.pulse.sent_s = now_s
        return message

    def _hello(self, session: "_ChildSession") -> pb.ChildMessage:
        session.greeted = True
        hello = pb.Hello(
            identity=self.identity,
            boot_id=self.boot_id,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            capabilities=self.capabilities,
            applied=self.held.applied(),
            epoch=self.epoch,
            refused=[refusal.message() for refusal in self.held.refused],
        )
        if self.held.refused and not self._asked_again:  # by an older process of ours: this one may be able to
            hello.applied.ClearField("hash")
        return pb.ChildMessage(hello=hello)

    def _next(self, session: "_ChildSession", now_s: float) -> pb.ChildMessage | None:
        if not session.welcomed:
            return None
        if session.ack is not None:
            ack, session.ack = session.ack, None
            return pb.ChildMessage(ack=ack)
        if session.results:
            return pb.ChildMessage(result=session.results.pop(0))
        if self._unsent or not session.status_sent:
            return pb.ChildMessage(status=self._next_status(session))
        if events := [event for event in self._events if event.sequence > session.events_sent]:
            session.events_sent = events[:EVENTS_PER_MESSAGE][-1].sequence
            piece = pb.Events(events=events[:EVENTS_PER_MESSAGE], acknowledged=self._events_taken)
            return pb.ChildMessage(events=piece)
        if self._samples:
            samples, self._samples = self._samples, []
            return pb.ChildMessage(metrics=pb.Metrics(samples=samples, dropped=self._dropped))
        return pb.ChildMessage(heartbeat=pb.Heartbeat()) if session.pulse.must_speak(now_s) else None

    def _next_status(self, session: "_ChildSession") -> pb.Status:
        status = pb.Status(full=not session.status_sent)
        size = 0
        for name in list(self._unsent):
            item = self._status.get(name) or pb.StatusItem(name=name)
            size += len(item.body)
            if status.items and size > STATUS_BYTES_MAX and session.status_sent:
                break  # a full status is one message: what it does not name does not exist
            status.items.append(item)
            del self._unsent[name]
        session.status_sent = True
        return status


@dataclass(slots=True)
class _ChildSession:
    pulse: _Pulse
    greeted: bool = False
    welcomed: bool = False
    status_sent: bool = False
    events_sent: int = 0
    ack: pb.Ack | None = None
    partial: list[pb.Desired] = field(default_factory=list)
    results: list[commands.Result] = field(default_factory=list)


# ---- the parent ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ParentCore:
    """One session of one child, seen from its parent. The next session has another one."""

    now_s: float
    lease_s: float
    heartbeat_s: float

    hello: pb.Hello | None = None
    _pulse: _Pulse = field(init=False)
    _out: list[pb.ParentMessage] = field(default_factory=list)
    _desired: DesiredState | None = None
    _allow_prune: bool = False
    _known: dict[str, DesiredState] = field(default_factory=dict)
    _held: pb.Applied | None = None
    _offered: str = ""
    _offered_s: float = 0.0
    _refused: str = ""
    """Hash of a state that the child refused whole: sending it again would change nothing."""
    _interest: pb.Interest | None = None
    _events_taken: int = 0
    _events_seen: int = 0
    _commands: list[tuple[commands.Command, float]] = field(default_factory=list)
    """That wait for the wire, and until when."""

    def __post_init__(self) -> None:
        self._pulse = _Pulse(self.heartbeat_s, self.lease_s, self.now_s, self.now_s)

    # -- told by the owner

    def welcome(self, epoch: int, now_s: float) -> None:
        """Answers the Hello: from now on this is the child's session number `epoch`, and it has a lease."""
        assert self.hello is not None
        protocol = min(PROTOCOL_MAX, self.hello.protocol_max)
        lease, heartbeat = duration(self.lease_s), duration(self.heartbeat_s)
        welcome = pb.Welcome(protocol=protocol, epoch=epoch, lease=lease, heartbeat=heartbeat)
        self._held = self.hello.applied
        self._pulse = _Pulse(self.heartbeat_s, self.lease_s, self._pulse.sent_s, now_s)
        self._out.append(pb.ParentMessage(welcome=welcome))

    def desire(self, state: DesiredState, *, allow_prune: bool = False) -> None:
        """The newest desired state. Sent when the child holds another one and the wire is free.

        allow_prune: it is meant where `state` takes away what the child holds (see Desired.allow_prune).
        """
        self._desired = state
        self._allow_prune = allow_prune

    def set_interest(self, names: Iterable[str], pace_s: float) -> None:
        self._interest = pb.Interest(names=sorted(names), pace=duration(pace_s))

    def command(self, command: commands.Command, now_s: float) -> None:
        """Sent once, when the wire is free; not after its time to live, see `overdue`."""
        lives_s = seconds(command.time_to_live) or math.inf
        self._commands.append((command, now_s + lives_s))

    def overdue(self, now_s: float) -> list[commands.Command]:
        """Takes out the commands that the wire had no room for in time: they will not be sent."""
        late = [command for command, until_s in self._commands if until_s <= now_s]
        self._commands = [each for each in self._commands if each[1] > now_s]
        return late

    def events_taken(self, sequence: int) -> None:
        if sequence > self._events_taken:
            self._events_taken = sequence
            self._out.append(pb.ParentMessage(events_ack=pb.EventsAck(sequence=sequence)))

    def goodbye(self, reason: str, reconnect_after_s: float = 0.0, alternate: str = "") -> None:
        goodbye = pb.Goodbye(reason=reason, alternate=alternate, reconnect_after=duration(reconnect_after_s))
        self._out.append(pb.ParentMessage(goodbye=goodbye))

    # -- session

    @property
    def held(self) -> pb.Applied:
        """What the child said last that it holds; empty before its Hello was answered."""
        return self._held or pb.Applied()

    @property
    def agreed(self) -> int | None:
        """Version of the desired state where the child is known to hold it, if under another number: a change may have
        been taken back. None where it does not, or has not answered an offer yet.
        """
        return self._desired.version if self._desired and not self._offered and not self._differs else None

    @property
    def came_with(self) -> int | None:
        """Version that the child's Hello named, where it is one of the store that the desired state is from."""
        hello, desired = self.hello, self._desired
        if hello is None or desired is None or hello.applied.incarnation != desired.incarnation:
            return None
        return hello.applied.version

    @property
    def _differs(self) -> bool:
        desired, held = self._desired, self._held
        if desired is None or held is None:
            return True
        return (held.hash, held.incarnation) != (desired.hash, desired.incarnation)

    @property
    def welcomed(self) -> bool:
        return self._held is not None

    @property
    def _is_waited_for(self) -> bool:
        """By a child that has greeted."""
        return self.hello is not None and not self.welcomed and WAITS in self.hello.capabilities

    def expired(self, now_s: float) -> bool:
        """The child was silent for a lease."""
        return self._pulse.expired(now_s)

    def next_s(self) -> float:
        """When to look again, if nothing happens before. An offer is repeated no later than a heartbeat is due."""
        return self._pulse.next_s(speaks=self.welcomed or self._is_waited_for)

    def receive(self, message: pb.ChildMessage, now_s: float) -> list[ParentEffect]:
        self._pulse.heard_s = now_s
        kind = message.WhichOneof("kind")
        if self.hello is None or kind == "hello":
            return [self._greet(message)]
        match kind:
            case "ack":
                return [self._acknowledged(message.ack)]
            case "status":
                items = {item.name: item for item in message.status.items}
                return [StatusArrived(MappingProxyType(items), message.status.full)]
            case "metrics":
                return [MetricsArrived(tuple(message.metrics.samples), message.metrics.dropped)]
            case "events":
                return self._events_arrived(message.events)
            case "result":
                return [ResultArrived(message.result)]
            case "goodbye":
                return [_left(message.goodbye)]
        return []  # a heartbeat, or a kind that a newer child knows

    def _events_arrived(self, message: pb.Events) -> list[ParentEffect]:
        if not message.events:
            return []
        seen = max(self._events_seen, message.acknowledged)
        knows = message.HasField("acknowledged") or self._events_seen
        lost = max(0, message.events[0].sequence - seen - 1) if knows else 0
        self._events_seen = max(seen, message.events[-1].sequence)
        return [EventsArrived(tuple(message.events), lost)]

    def _greet(self, message: pb.ChildMessage) -> ParentEffect:
        if message.WhichOneof("kind") != "hello" or self.hello is not None:
            return Broken("HELLO_EXPECTED", "the first message of a child, and only that, is its Hello")
        hello = message.hello
        if hello.protocol_max < PROTOCOL_MIN or hello.protocol_min > PROTOCOL_MAX:
            spoken = f"{hello.protocol_min}..{hello.protocol_max}"
            return Broken("PROTOCOL", f"the child speaks protocols {spoken}, this parent speaks {_SPOKEN}")
        self.hello = hello
        if self._is_waited_for:
            # Well within its patience; and it has nothing to say, so its silence says nothing.
            self._pulse = _Pulse(self.heartbeat_s / 2, math.inf, self._pulse.sent_s, self._pulse.heard_s)
        return Greeted(hello)

    def _acknowledged(self, ack: pb.Ack) -> ParentEffect:
        self._held = ack.applied
        refusals = tuple(map(Refusal.of, ack.errors))
        self._refused = self._offered if any(not refusal.name for refusal in refusals) else ""
        self._offered = ""
        return Accepted(ack.applied.version, refusals)

    def next_message(self, now_s: float) -> pb.ParentMessage | None:
        """What to send now that the wire is free; None if nothing."""
        message = self._next(now_s)
        if message is not None:
            self._pulse.sent_s = now_s
        return message

    def _next(self, now_s: float) -> pb.ParentMessage | None:
        if self._out:
            return self._out.pop(0)
        if not self.welcomed:
            return self._heartbeat(now_s) if self._is_waited_for else None
        if self._wants_to_offer(now_s):
            self._out = self._offer(now_s)
            return self._out.pop(0)
        if self._interest is not None:
            interest, self._interest = self._interest, None
            return pb.ParentMessage(interest=interest)
        if self._commands:
            return pb.ParentMessage(command=self._commands.pop(0)[0])
        return self._heartbeat(now_s)

    def _heartbeat(self, now_s: float) -> pb.ParentMessage | None:
        return pb.ParentMessage(heartbeat=pb.Heartbeat()) if self._pulse.must_speak(now_s) else None

    def _wants_to_offer(self, now_s: float) -> bool:
        """One offer is under way at a time; one that got no answer for a heartbeat is made again."""
        desired, held = self._desired, self._held
        if desired is None or held is None or not self._differs:
            return False
        if desired.hash == self._refused and not self._allow_prune:
            return False
        return not self._offered or now_s >= self._offered_s + self.heartbeat_s

    def _offer(self, now_s: float) -> list[pb.ParentMessage]:
        """The desired state as a difference to what the child is known to hold, or whole."""
        desired, held = self._desired, self._held
        assert desired is not None
        assert held is not None
        base = self._known.get(held.hash) if held.incarnation == desired.incarnation else None
        upserts = [item for item in desired.items.values() if base is None or base.items.get(item.name) != item]
        removes = [] if base is None else sorted(base.items.keys() - desired.items.keys())
        self._offered, self._offered_s = desired.hash, now_s
        self._known = {state.hash: state for state in (base, desired) if state is not None}
        messages = []
        for chunk in _chunked(upserts):
            piece = pb.Desired(target=desired.applied(), more=True, allow_prune=self._allow_prune)
            piece.upserts.extend(pb.Item(name=i.name, generation=i.generation, body=i.body) for i in chunk)
            if base is not None:
                piece.base.CopyFrom(held)
            messages.append(pb.ParentMessage(desired=piece))
        messages[-1].desired.more = False
        messages[-1].desired.removes.extend(removes)
        return messages


def _chunked(items: Sequence[Item]) -> list[list[Item]]:
    """At least one chunk; each below DESIRED_BYTES_MAX unless a single item is larger."""
    chunks: list[list[Item]] = [[]]
    size = 0
    for item in items:
        size += len(item.body)
        if chunks[-1] and size > DESIRED_BYTES_MAX:
            chunks.append([])
            size = len(item.body)
        chunks[-1].append(item)
    return chunks


def _left(goodbye: pb.Goodbye) -> Left:
    return Left(goodbye.reason, seconds(goodbye.reconnect_after), goodbye.alternate)


def _stale(item: Item, held: Item) -> Refusal:
    text = f"generation {item.generation} of {item.name} is older than {held.generation}, which is held"
    hint = "the control plane's store may have been restored from a backup: write the resource once more"
    return Refusal(item.name, item.generation, to_status(Precondition("STALE_GENERATION", text, hint)))


def _prune_refused(lost: Sequence[str], held: DesiredState) -> pb.ItemError:
    """Without a name: it is about the whole state."""
    text = f"this would take away {len(lost)} of the {len(held.items)} items that are held, {lost[0]} among them"
    hint = "what is held stays; where that is meant to go, somebody has to say so"
    return pb.ItemError(error=to_status(Precondition("PRUNE_REFUSED", text, hint)))


def _set_back_refused(older: Sequence[str], held: DesiredState) -> pb.ItemError:
    """Without a name: it is about the whole state."""
    text = f"this would set back {len(older)} of the {len(held.items)} items that are held, {older[0]} among them"
    hint = "what is held stays; where the older one is meant, somebody has to say so"
    return pb.ItemError(error=to_status(Precondition("SET_BACK_REFUSED", text, hint)))
