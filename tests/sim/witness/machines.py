"""What edge servers do: which processes start, drain and end, and whom the gateways give calls to."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge_agent.drivers.base import MONITOR, Lineup, Observed
from edge_agent.gateways.routes import PositionRoute, RouteTable
from tests.sim.witness.book import Book
from tests.sim.witness.disks import Disks

if TYPE_CHECKING:
    from tests.sim.edge import Edge

KNOWS_S = 3.0  # an agent may act for so long on what a host did before it died: health checks, and acting upon them
HEALS_S = 100.0  # after something happened to its machine a position is served again: more than back-off's 60 s


class Machines:
    def __init__(self, book: Book, disks: Disks) -> None:
        self._book, self._disks = book, disks
        self.known_broken: set[str] = set()
        """Digests of versions that never start: these are tried for ever."""
        self._replicas: dict[tuple[str, str], tuple[str, str]] = {}
        self._started: set[tuple[str, str]] = set()
        self._faulty_s: dict[tuple[str, str], float] = {}

    # -- processes

    def began(self, edge: "Edge", lineup: Lineup, observed: Observed) -> None:
        version = observed.version
        self._book.note(
            f"starts {observed.id} of {lineup.position[-5:]} ({version.name[-1:]}, start {observed.starts})"
        )
        if version.digest not in self.known_broken:
            self._book.happened += 1
        if observed.id == MONITOR:
            return
        self._check_id(edge, (lineup.uid, version.digest), observed)
        known = self._disks.knows(edge, lineup.uid, observed.id)
        self._book.must("ledger-before-action", known, f"{observed.id} of {lineup.position} on {edge.name}")
        rejected = version.digest in self._disks.held(edge).rejected(lineup.uid)
        self._book.must("rejected-is-not-started", not rejected, f"{version.name} at {lineup.position}")

    def _check_id(self, edge: "Edge", what: tuple[str, str], observed: Observed) -> None:
        id_ = edge.name, observed.id
        known = self._replicas.setdefault(id_, what)
        again = observed.starts == 1 and id_ in self._started
        self._started.add(id_)
        self._book.must("ids-are-used-once", known == what and not again, f"{observed.id} on {edge.name}")

    def drained(self, edge: "Edge", uid: str, observed: Observed) -> None:
        self._book.note(f"drains {observed.id}")
        wanted = self._disks.wants(edge, uid)
        if observed.id == MONITOR:
            self._book.must("stopped-only-when-told", not wanted, f"the monitor of {uid} on {edge.name}")
            return
        answers = edge.machine.answers(uid, observed.id)
        law = "drained-when-unrouted" if answers else "no-dangling-route"
        how = f"{observed.id} on {edge.name} is drained and in the live route"
        self._book.must(law, observed.id not in edge.routed(uid), how)
        served = wanted and answers and uid in self._disks.held(edge).served
        if served and self._since_fault_s(edge, uid) > KNOWS_S:
            self._book.must("stopped-only-when-told", edge.answering(uid), f"{observed.id} was the last of {uid}")

    def ended(self, edge: "Edge", uid: str, observed: Observed) -> None:
        if not observed.draining and observed.id != MONITOR:
            self._book.note(f"{observed.id} ended: {observed.failure.message if observed.failure else ''}")
            self.faulty(edge, uid)

    # -- what no software of ours did

    def faulty(self, edge: "Edge", uid: str) -> None:
        """Something happened to this position."""
        self._faulty_s[edge.name, uid] = self._book.now_s

    def all_faulty(self, edge: "Edge", what: str) -> None:
        self._book.note(what)
        for uid in list(edge.machine.processes):
            self.faulty(edge, uid)

    def _since_fault_s(self, edge: "Edge", uid: str) -> float:
        return self._book.now_s - self._faulty_s.get((edge.name, uid), -math.inf)

    # -- routes

    def routed(self, edge: "Edge", before: RouteTable | None, after: RouteTable, given_s: float) -> None:
        """A table has become live. given_s: when the agent gave it to the gateway."""
        self._book.happened += 1
        self._book.note(f"table of {edge.name}: {_brief(after)}")
        ports = [route.dedicated_port for route in after.routes if route.dedicated_port]
        self._book.must("ports-are-held-once", len(set(ports)) == len(ports), f"{edge.name}: {ports}")
        for route in after.routes:
            self._check_hosts(edge, route)
            if edge.answering(route.uid) and self._disks.wants(edge, route.uid):
                self._disks.held(edge).served.add(route.uid)
        for old in before.routes if before else ():
            self._compare(edge, old, after.by_uid.get(old.uid), given_s - KNOWS_S)

    def _check_hosts(self, edge: "Edge", route: PositionRoute) -> None:
        for host in route.hosts:
            process = edge.machine.of(route.uid).get(host.id)
            lives = process is not None and not process.observed.draining
            self._book.must("no-dangling-route", lives, f"{host.id} of {route.name} on {edge.name}")

    def _compare(self, edge: "Edge", old: PositionRoute, new: PositionRoute | None, known_s: float) -> None:
        """known_s: what happened later need not have been known when the new route was made."""
        uid = old.uid
        if not self._disks.wants(edge, uid) or self._faulty_s.get((edge.name, uid), -math.inf) >= known_s:
            return
        since_s = {id_: process.answers_from_s for id_, process in edge.machine.of(uid).items()}
        answered = [id_ for id_ in _answering(edge, old) if since_s[id_] <= known_s]
        gone = f"{old.name} left the gateway of {edge.name}"
        self._book.must("stopped-only-when-told", new is not None or not answered, gone)
        after = _answering(edge, new) if new else []
        self._book.must("make-before-break", after or not answered, f"{old.name}: {answered} answered, now nobody")

    # -- now and then

    def check_serving(self, edges: Iterable["Edge"]) -> None:
        """Whoever served and is wanted serves, or something happened to its machine lately."""
        for edge in edges:
            held = self._disks.held(edge)
            for uid in held.assignments:
                if not edge.usable or not self._disks.wants(edge, uid):
                    self.faulty(edge, uid)
                elif uid in held.served and not edge.answering(uid):
                    excused = self._since_fault_s(edge, uid) < HEALS_S
                    self._book.must("keeps-serving", excused, f"{uid} on {edge.name} is not served")


def _answering(edge: "Edge", route: PositionRoute) -> list[str]:
    """Replica ids that get calls and answer."""
    return [host.id for host in route.hosts if host.weight and edge.machine.answers(route.uid, host.id)]


def _brief(table: RouteTable) -> str:
    return "; ".join(f"{r.name[-5:]} {[f'{h.id}={h.weight}' for h in r.hosts]}" for r in table.routes)
