"""What agents and control planes say to one another, held against what is on the agents' disks."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sim.witness.book import Book
from tests.sim.witness.disks import Disks
from waypost.api.link.v1 import link_pb2

if TYPE_CHECKING:
    from tests.sim.edge import Edge


@dataclass(eq=False)
class Session:
    """One connection between an agent and a control plane, as seen on the wire. Times are virtual."""

    edge: "Edge"
    epoch: int = 0
    welcomed_s: float = 0.0
    heard_s: float = 0.0
    """When the control plane took the last message."""
    refused: int = 0
    """How many writes the agent's disk had refused when the session was welcomed."""


SESSION: ContextVar[Session | None] = ContextVar("session", default=None)
"""On whose behalf a control plane does what it does now."""


class Wires:
    def __init__(self, book: Book, disks: Disks) -> None:
        self._book, self._disks = book, disks
        self._acked: dict[tuple[str, str], int] = {}
        self._epochs: dict[str, set[int]] = {}
        self._newest: dict[str, Session] = {}
        self._spoken: dict[str, int] = {}

    def restored(self) -> None:
        """Another store: it may give out once more what none of its agents has heard of."""
        self._epochs.clear()
        self._newest.clear()

    def sent_down(self, session: Session, message: link_pb2.ParentMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind != "heartbeat":
            self._book.note(f"-> agent {session.edge.name[-1]}: {_brief(message, str(kind))}")
        if kind == "welcome":
            self._welcome(session, message.welcome.epoch)

    def _welcome(self, session: Session, epoch: int) -> None:
        name = session.edge.name
        given = self._epochs.setdefault(name, set())
        self._book.must("numbers-are-used-once", epoch not in given, f"session {epoch} twice")
        given.add(epoch)
        session.epoch, session.welcomed_s = epoch, self._book.now_s
        session.refused = session.edge.disk.refused
        newest = self._newest.get(name)
        if newest is None or newest.epoch < epoch:
            self._newest[name] = session

    def taken(self, session: Session) -> None:
        """A control plane took a message of the agent."""
        session.heard_s = self._book.now_s

    def observes(self, names: Iterable[str]) -> None:
        """A control plane writes down what it was told of an edge server and its positions."""
        session = SESSION.get()
        newest = self._newest.get(session.edge.name) if session else None
        if session is not None and newest is not None and 0 < session.epoch < newest.epoch:
            how = f"session {session.epoch} is believed, {newest.epoch} has begun: {list(names)}"
            self._book.must("one-session", session.heard_s <= newest.welcomed_s, how)

    def sent_up(self, session: Session, message: link_pb2.ChildMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind not in ("heartbeat", "status"):
            self._book.note(f"-> control plane: {_brief(message, str(kind))}")
        if kind == "hello":
            self._hello(session.edge, message.hello.applied)
            return
        self._speaks(session)
        if kind == "ack" and message.ack.applied.incarnation:
            self._holds(session.edge, message.ack.applied)
            self._acked[session.edge.name, message.ack.applied.incarnation] = message.ack.applied.version

    def _hello(self, edge: "Edge", applied: link_pb2.Applied) -> None:
        acked = self._acked.get((edge.name, applied.incarnation), 0)
        how = f"{edge.name} forgot {acked}, has {applied.version}"
        self._book.must("acks-are-durable", applied.version >= acked, how)
        self._holds(edge, applied)

    def _speaks(self, session: Session) -> None:
        """The session's number is written down before, but for a disk that refused that. What was never written, an
        agent that is started again may not know; what it acknowledges is another matter, see `_holds`.
        """
        edge, epoch = session.edge, session.epoch
        durable, spoken = self._disks.durable(edge).epoch, self._spoken.get(edge.name, 0)
        how = f"{edge.name} speaks in session {epoch}, durable is {durable}"
        self._book.must("acks-are-durable", durable >= epoch or edge.disk.refused > session.refused, how)
        self._book.must("one-session", epoch >= spoken, f"{edge.name} spoke in {spoken}, now in {epoch}")
        self._spoken[edge.name] = max(spoken, min(epoch, durable))

    def _holds(self, edge: "Edge", said: link_pb2.Applied) -> None:
        durable = self._disks.durable(edge)
        kept = (durable.incarnation, durable.version) == (said.incarnation, said.version)
        how = f"{edge.name} says that it holds {said.version}, durable is {durable.version}"
        self._book.must("acks-are-durable", kept or not said.incarnation, how)


def _brief(message: Any, kind: str) -> str:
    part = getattr(message, kind)
    match kind:
        case "hello":
            return f"hello {part.boot_id}, holds {part.applied.version}, saw session {part.epoch}"
        case "welcome":
            return f"welcome to session {part.epoch}"
        case "desired":
            names = [f"{item.name[-5:]}:{item.generation}" for item in part.upserts]
            return f"desired {part.target.version} {names} without {list(part.removes)}{' ...' if part.more else ''}"
        case "ack":
            return f"ack {part.applied.version} {[error.error.message for error in part.errors] or ''}"
    return kind
