"""What is on the agents' disks: the pages of their ledgers, each time that one is written."""

import json
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mesh.link_core import Item, hash_of
from mesh.times import seconds
from tests.sim.witness.book import Book
from tests.sim.witness.commits import Commits
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.api.link.v1.monitor_link_pb2 import Decision

if TYPE_CHECKING:
    from tests.sim.edge import Edge

PAGES = ("desired.json", "decisions.json", "positions.json")


@dataclass
class Held:
    """What one edge server's disk says."""

    incarnation: str = ""
    version: int = 0
    epoch: int = 0
    items: Mapping[str, int] = field(default_factory=dict)
    """Generation by name."""
    assignments: Mapping[str, PositionAssignment] = field(default_factory=dict)
    """By uid."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """By uid."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """By uid."""
    generations: dict[tuple[str, str], int] = field(default_factory=dict)
    """The highest, by (incarnation, name)."""
    served: set[str] = field(default_factory=set)
    """Uids that have had a host that answers in their route, since they are wanted."""

    def rejected(self, uid: str) -> frozenset[str]:
        """Digests of versions."""
        decision = self.decisions.get(uid)
        return frozenset(verdict.digest for verdict in decision.verdicts) if decision else frozenset()


class Disks:
    def __init__(self, book: Book, commits: Commits) -> None:
        self._book, self._commits = book, commits
        self.cleared: set[tuple[str, str]] = set()
        """(uid, digest) of verdicts that somebody has asked to clear."""
        self._held: dict[str, Held] = {}

    def held(self, edge: "Edge") -> Held:
        return self._held.setdefault(edge.name, Held())

    def durable(self, edge: "Edge") -> Held:
        """What a power cut would leave of the desired state."""
        body = edge.disk.durable(_path(edge, "desired.json"))
        return Held() if body is None else _desired_page(body)

    def knows(self, edge: "Edge", uid: str, replica: str) -> bool:
        """Whether a power cut would leave it written down that the position has this replica."""
        body = edge.disk.durable(_path(edge, "positions.json"))
        records = [] if body is None else _document(body)
        return any(record["uid"] == uid and replica in record["slots"] for record in records)

    def wants(self, edge: "Edge", uid: str) -> bool:
        """Whether the position is to serve here, by what the agent holds."""
        assignment = self.held(edge).assignments.get(uid)
        if assignment is None or assignment.deleting:
            return False
        limit_s = seconds(assignment.spec.on_disconnect.stop_after)
        return not limit_s or (edge.agent is not None and edge.agent.solitude.seconds < limit_s)

    def written(self, edge: "Edge", name: str) -> None:
        """A file has another content under its name; what a power cut leaves of it is another matter."""
        page = name.rpartition("/")[2]
        if page in PAGES:
            self._look(edge, page, _document(edge.disk.names[name].data))

    def power_cut(self, edge: "Edge") -> None:
        """What the disk forgot may be written differently now."""
        self._held[edge.name] = Held(served=self.held(edge).served)
        for page in PAGES:
            for path in (_path(edge, page), _path(edge, f"{page}.previous")):
                with suppress(KeyError, ValueError):
                    self._look(edge, page, _document(edge.disk.names[path].data))
                    break

    def _look(self, edge: "Edge", page: str, document: Any) -> None:
        look = {"desired.json": self._desired, "decisions.json": self._decisions, "positions.json": self._positions}
        look[page](edge, self.held(edge), document)

    # -- page by page

    def _desired(self, edge: "Edge", held: Held, document: Any) -> None:
        read = _read_desired(document)
        for name, generation in read.items.items():
            highest = held.generations.get((read.incarnation, name), 0)
            how = f"{edge.name}: {name} from {highest} to {generation}"
            self._book.must("generations-rise", generation >= highest, how)
            held.generations[read.incarnation, name] = max(highest, generation)
        items = [Item(i["name"], i["generation"], b64decode(i["body"])) for i in document["items"]]
        whole = bool(document["refused"]) or hash_of(items) in self._commits.planned(edge.name)
        self._book.must("held-as-planned", whole, f"{edge.name} holds {dict(read.items)}")
        self._of_another_store(edge, held, read)
        held.incarnation, held.version, held.epoch = read.incarnation, read.version, read.epoch
        held.items, held.assignments = read.items, read.assignments
        held.served = {uid for uid in held.served if self.wants(edge, uid)}

    def _of_another_store(self, edge: "Edge", held: Held, read: Held) -> None:
        if held.incarnation in ("", read.incarnation) or (edge.name, read.incarnation) in self._commits.confirmed:
            return
        after = {assignment.position: assignment for assignment in read.assignments.values()}
        lost = [old.position for old in held.assignments.values() if _undone(old, after.get(old.position))]
        self._book.must("restored-undoes-nothing", not lost, f"{edge.name} lost {lost}")

    def _decisions(self, edge: "Edge", held: Held, document: Any) -> None:
        before = held.decisions
        held.decisions = {uid: Decision.FromString(b64decode(body)) for uid, body in document.items()}
        for uid in before.keys() & held.decisions.keys():
            old, new = before[uid].number, held.decisions[uid].number
            self._book.must("decisions-rise", new >= old, f"{uid} on {edge.name} from {old} to {new}")
        for uid, decision in before.items():
            left = {verdict.digest for verdict in decision.verdicts} - held.rejected(uid)
            lost = sorted(digest for digest in left if (uid, digest) not in self.cleared)
            self._book.must("verdicts-are-kept", not lost or not self.wants(edge, uid), f"{uid} lost {lost}")

    def _positions(self, edge: "Edge", held: Held, document: Any) -> None:
        ports = {record["uid"]: record["port"] for record in document if record["port"]}
        self._book.must("ports-are-held-once", len(set(ports.values())) == len(ports), f"{edge.name}: {ports}")
        for uid in ports.keys() & held.ports.keys():
            self._book.must("ports-are-held-once", ports[uid] == held.ports[uid], f"{uid} moved to {ports[uid]}")
        held.ports = ports


def _undone(old: PositionAssignment, new: PositionAssignment | None) -> bool:
    """Items are numbered by their store; across stores the position's own numbers say what is newer."""
    if new is None or new.uid != old.uid:
        return True
    return new.generation < old.generation or (old.deleting and not new.deleting)


def _path(edge: "Edge", page: str) -> str:
    return str(edge.layout.ledger / page)


@lru_cache(maxsize=64)
def _desired_page(body: bytes) -> Held:
    return _read_desired(_document(body))


def _document(body: bytes) -> Any:
    """Raises: ValueError where it is torn."""
    return json.loads(body.partition(b"\n")[2])


def _read_desired(document: Any) -> Held:
    assignments = [PositionAssignment.FromString(b64decode(item["body"])) for item in document["items"]]
    return Held(
        incarnation=document["incarnation"],
        version=document["version"],
        epoch=document["epoch"],
        items={item["name"]: item["generation"] for item in document["items"]},
        assignments={assignment.uid: assignment for assignment in assignments},
    )
