"""All positions of this edge server: one worker for each, from its first assignment until nothing of it is left.

Which positions there are follows from three lists: what the control plane wants here, what the ledger has given
anything out to, and what the driver still has processes of. A position that is in the latter two only leaves: it is
drained as if its deletion had been ordered. But before any control plane was ever heard (a new disk, a lost ledger),
nothing is known, and what runs is left alone.
"""

import asyncio
from collections.abc import Mapping

import structlog

from edge_agent.position.assignments import Assignment, leaving, read_assignment
from edge_agent.position.changes import ALWAYS, Rules, is_own, read_rules
from edge_agent.position.endpoints import rendered
from edge_agent.position.status import gone_status
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.worker import Worker
from mesh.link import Item
from mesh.waiting import in_own_task, news_within
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.errors import MeshError, NotFound

log = structlog.get_logger()

AGAIN_AFTER_S = 5.0  # a worker that ended by a fault of ours; the others go on meanwhile
SWEEP_EVERY_S = 600.0  # files that nobody needs any more


class Supervisor:
    """Create it, then `run` it; tell it when the desired state has changed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._workers: dict[str, Worker] = {}
        self._news = asyncio.Event()
        self._read: dict[str, tuple[Item, Assignment | None]] = {}
        self._told: set[str] = set()
        for source in (parts.driver, parts.health, parts.gate, parts.router):
            source.on_change(self.wake)
        for record in parts.ledger.records.values():
            parts.router.adopt(rendered(record, parts.driver.observe(record.uid), parts.layout))

    # -- news

    def wake(self, uid: str) -> None:
        """Something about this position may have changed."""
        if (worker := self._workers.get(uid)) is not None:
            worker.wake()
        else:
            self._news.set()

    def wake_position(self, position: str) -> None:
        """The same, by full name."""
        if (worker := self._worker_of(position)) is not None:
            worker.wake()

    def desired_changed(self) -> None:
        self._news.set()

    def mode_changed(self) -> None:
        """Whether changes are carried out may be another matter now, and whether anything is to be served."""
        self._news.set()
        self.wake_all()

    def wake_all(self) -> None:
        """Something about every position may have changed."""
        for worker in self._workers.values():
            worker.wake()

    def source_is_back(self) -> None:
        """Artifacts that could not be fetched are tried again at once."""
        for worker in self._workers.values():
            worker.hurry()

    def assignment(self, position: str) -> Assignment:
        """Of a position that is here, by full name. Raises: NotFound(NOT_HERE)."""
        if (worker := self._worker_of(position)) is not None:
            return worker.assignment
        raise NotFound("NOT_HERE", f"{position} is not on this edge server", "ask the control plane where it is now")

    # -- life

    async def run(self) -> None:
        """Until it is cancelled; what runs goes on running."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._parts.health.run(), name="health")
            tasks.create_task(self._parts.router.run(), name="router")
            tasks.create_task(self._sweep(), name="sweep")
            while True:
                self._news.clear()
                self._look(tasks)
                await self._news.wait()

    def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Gives every position its worker, and every worker its assignment."""
        if not self._parts.ledger.informed:
            return
        assigned = self._assigned()
        rules = self._rules()
        for uid, assignment in {**self._left_behind(assigned), **assigned}.items():
            worker = self._workers.get(uid)
            if worker is not None:
                worker.assign(assignment, rules)
            elif self._is_gone(assignment):
                self._tell_gone(assignment)
            elif not self._name_is_taken(assignment):
                self._workers[uid] = Worker(assignment, rules, self._parts)
                tasks.create_task(self._work(self._workers[uid]), name=f"position-{uid[:8]}")
        self._retract(assigned)

    async def _work(self, worker: Worker) -> None:
        while not worker.over:
            try:
                await in_own_task(worker.run())
            except* Exception as errors:  # a worker's life ends here: a fault of ours, in one position
                log.exception("worker_failed", position=worker.assignment.position, exc_info=errors)
            if not worker.over:
                await asyncio.sleep(AGAIN_AFTER_S)
                worker.wake()
        log.info("position_gone", position=worker.assignment.position)
        del self._workers[worker.uid]
        self._news.set()

    async def _sweep(self) -> None:
        """Removes versions that nobody wants, runs or would fall back to: now and then, and when room is needed."""
        artifacts = self._parts.artifacts
        while True:
            await news_within(artifacts.crowded, SWEEP_EVERY_S)
            artifacts.crowded.clear()
            if self._parts.ledger.informed:
                try:
                    await artifacts.sweep(self._kept_versions())
                except MeshError as error:
                    log.error("sweep_failed", why=error.message, hint=error.hint)

    def _kept_versions(self) -> list[ModelVersion]:
        bodies = [body for record in self._parts.ledger.records.values() for body in record.versions.values()]
        wanted = [assignment.model_version for assignment in self._assigned().values()]
        return [*(ModelVersion.FromString(body) for body in bodies), *wanted]

    # -- what there is

    def _assigned(self) -> Mapping[str, Assignment]:
        """By uid, what the control plane wants here."""
        items = {name: item for name, item in self._parts.ledger.desired.items.items() if not is_own(item)}
        self._read = {name: self._read_again(item) for name, item in items.items()}
        return {a.uid: a for _, a in self._read.values() if a is not None}

    def _rules(self) -> Rules:
        """When positions that are in service may be changed."""
        item = next(filter(is_own, self._parts.ledger.desired.items.values()), None)
        try:
            return read_rules(item) if item else ALWAYS
        except MeshError as error:  # an agent before us could read it, or the machine's time zones are gone
            log.error("windows_unreadable", why=error.message, hint=error.hint)
            return ALWAYS

    def _read_again(self, item: Item) -> tuple[Item, Assignment | None]:
        known = self._read.get(item.name)
        if known is not None and known[0] == item:
            return known
        try:
            return item, read_assignment(item)
        except MeshError as error:  # an agent before us could read it
            log.error("assignment_unreadable", position=item.name, why=error.message)
            return item, None

    def _left_behind(self, assigned: Mapping[str, Assignment]) -> dict[str, Assignment]:
        """By uid, what is here and no longer wanted. What cannot be read is neither."""
        unreadable = {name for name, (_, assignment) in self._read.items() if assignment is None}
        here = {uid: record.position for uid, record in self._parts.ledger.records.items()}
        here = {**dict.fromkeys(self._parts.driver.positions(), ""), **here}
        return {
            uid: leaving(uid, position)
            for uid, position in here.items()
            if uid not in assigned and position not in unreadable
        }

    def _is_gone(self, assignment: Assignment) -> bool:
        """Whether it is to go and nothing of it is here."""
        here = assignment.uid in self._parts.ledger.records or assignment.uid in self._parts.driver.positions()
        return assignment.wanted.deleting and not here

    def _name_is_taken(self, assignment: Assignment) -> bool:
        """Whether another position of that name is still on its way out: a gateway knows a name once."""
        return self._worker_of(assignment.position) is not None

    def _worker_of(self, position: str) -> Worker | None:
        """By full name."""
        return next((w for w in self._workers.values() if w.assignment.position == position), None)

    def _tell_gone(self, assignment: Assignment) -> None:
        if not self._name_is_taken(assignment):
            report = PositionReport(uid=assignment.uid, status=gone_status(assignment.generation), gone=True)
            self._parts.reports.report(assignment.position, report)

    def _retract(self, assigned: Mapping[str, Assignment]) -> None:
        """Says of positions that are neither wanted nor here that they are no more."""
        names = {assignment.position for assignment in assigned.values()}
        names |= {worker.assignment.position for worker in self._workers.values()}
        for name in self._told - names:
            self._parts.reports.retract(name)
        self._told = names
