"""One position's worker: looks at what should be and what is, takes the steps between, looks again.

Whatever happens anywhere (an assignment, a decision, a process that ended, a health check, an acknowledgement) only
wakes it; it then looks at everything anew. So it does not matter which news came first, whether some came twice, or
whether the agent was killed in between. Steps are written to the ledger before they are taken. Workers share nothing
but the ledger and the gateway's table: one position's trouble is not another's.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace

import structlog

from edge_agent.artifacts.fetching import Fetches
from edge_agent.backoff import delay_s
from edge_agent.drivers.base import Limits
from edge_agent.failure import Failure
from edge_agent.identity.keys import ensure_keys
from edge_agent.identity.local_links import Links
from edge_agent.machine.software import software_of
from edge_agent.position.assignments import Assignment, read_decision
from edge_agent.position.changes import Choice, Rules, choose, last_of
from edge_agent.position.diff import Drain, Fetch, Restart, Start, Step, Target, World, diff, digest_of, overlay
from edge_agent.position.endpoints import endpoint, rendered, route_of
from edge_agent.position.picture import HostView, Picture, Proof
from edge_agent.position.record import Record, new_slots, paths_of, version_of, with_good, with_steps, with_versions
from edge_agent.position.replicas import host_sets
from edge_agent.reconcile.crew import Crew
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.proving import Proving, Subject
from edge_agent.reconcile.telling import Teller
from mesh import clock
from mesh.waiting import news_within
from waypost import names
from waypost.errors import MeshError

log = structlog.get_logger()

ROUNDS_MAX = 20  # without waiting; what takes more is a fault of ours, and must not keep the others from their turn
LOOK_EVERY_S = 30.0  # should a wake-up ever get lost
PAUSE_S = 0.01  # between two looks for which nobody woke us: a timer may fire a moment early


class Worker:
    """`run` it as a task; `wake` it whenever anything may have changed."""

    def __init__(self, wanted: Assignment, rules: Rules, parts: Parts) -> None:
        self.uid = wanted.uid
        self.over = False
        """Nothing of the position is left here."""
        self._wanted = wanted
        self._rules = rules
        self._parts = parts
        self._choice = self._choose()
        self._news = asyncio.Event()
        self._teller = Teller(self.uid, parts)
        self._crew = Crew(
            self.uid, parts.driver, parts.health, parts.gate, self._event, hung_after_s=parts.hung_after_s
        )
        self._proving = Proving(parts.probe, self.wake)
        self._fetches: Fetches | None = None
        self._refusal: Failure | None = None
        self._shortage: Failure | None = None
        self._failures = 0
        self._assume_proof()

    @property
    def assignment(self) -> Assignment:
        """What is carried out."""
        return self._choice.assignment

    def assign(self, wanted: Assignment, rules: Rules) -> None:
        """From now on this is what should be, as soon as it may."""
        if wanted.message != self._wanted.message or rules != self._rules:
            self._wanted, self._rules = wanted, rules
            self.wake()

    def wake(self) -> None:
        self._news.set()

    def hurry(self) -> None:
        """The control plane is back, and with it the source of artifacts."""
        self.wake()
        if self._fetches is not None:
            self._fetches.hurry()

    async def run(self) -> None:
        """Until nothing of the position is left, or until it is cancelled; what runs goes on running then."""
        async with asyncio.TaskGroup() as tasks:
            self._fetches = Fetches(self._parts.artifacts, tasks, self.wake)
            proving = tasks.create_task(self._proving.run(), name=f"prove-{self.uid[:8]}")
            while not self.over:
                self._news.clear()
                await news_within(self._news, await self._look_and_act(self._fetches))
            proving.cancel()
            self._fetches.keep(frozenset())

    # -- rounds

    async def _look_and_act(self, fetches: Fetches) -> float:
        """Seconds to wait for news at most."""
        try:
            for _ in range(ROUNDS_MAX):
                if not await self._round(fetches):
                    break
            self._refusal, self._failures = None, 0
        except MeshError as error:
            self._failures += 1
            self._refusal = Failure.of(error)
            log.warning("position_refused", position=self.assignment.position, reason=error.reason, why=error.message)
        if self.over:
            return 0.0
        with contextlib.suppress(MeshError):  # the refusal has said so
            self._tell(fetches)
        return self._pause_s()

    async def _round(self, fetches: Fetches) -> bool:
        """Looks once, and takes the steps that may be taken now; True where there were any. Raises: MeshError."""
        self._choice = self._choose()
        record = self._prepared()
        await self._crew.end_hung()
        views = self._crew.look(record)
        if self.assignment.wanted.deleting and not views and not record.route.entries:
            await self._leave(record)
            return False
        target = self._target(record)
        steps = diff(target, self._world(record, views, fetches))
        fetches.keep(target.prefetch | {share.version.digest for share in target.shares})
        for step in steps:
            if isinstance(step, Fetch):
                fetches.begin(step.digest, version_of(record, step.digest))
        record = await self._take(steps, record)
        self._proving.want(self._subject(record))
        return bool(steps)

    async def _take(self, steps: Sequence[Step], record: Record) -> Record:
        """Writes the steps down, then takes them. Raises: MeshError."""
        slots = new_slots(steps, self.assignment.wanted.variant, self._new_ids(steps, record))
        record = with_steps(record, steps, slots)
        drained = {step.replica for step in steps if isinstance(step, Drain)}
        restarted = {step.replica for step in steps if isinstance(step, Restart)}
        self._parts.ledger.keep_record(record)
        self._parts.router.put(rendered(record, self._parts.driver.observe(self.uid), self._parts.layout))
        resources = self.assignment.spec.resources
        hosts = host_sets(
            self._crew.look(record),
            drained,
            self._crew.admitted(restarted | slots.keys()),
            package=lambda version: self._parts.artifacts.package(version.digest),
            serve_as=self.assignment.serve_as,
            limits=Limits(resources.cpu_millis, resources.memory_bytes),
        )
        seen = (each.id for each in self._parts.driver.observe(self.uid))
        self._parts.links.certify(record, paths_of(record, self._parts.layout), {*record.slots, *seen})
        software = self._monitor_software(record) if self._choice.runnable else None
        links = self._parts.links.plan(record)
        await self._crew.arrange(record, hosts, monitor=software, grace_s=self._parts.grace_s, links=links)
        return record

    async def _leave(self, record: Record) -> None:
        """The hosts are gone. Now the route goes, then the monitor, then what is on disk. Raises: MeshError."""
        self._parts.router.drop(self.uid)
        if not self._parts.router.acknowledged(self.uid):
            return
        await self._crew.arrange(record, (), monitor=None, grace_s=self._parts.grace_s)
        self._crew.look(record)
        if self._crew.empty:
            paths = paths_of(record, self._parts.layout)
            for directory in (paths.home, paths.sockets):
                shutil.rmtree(directory, ignore_errors=True)
            self._parts.monitors.drop(record.position)
            self._parts.links.forget(self.uid)
            self._parts.ledger.forget(self.uid)
            self.over = True

    # -- what should be, and what is

    def _choose(self) -> Choice:
        parts, record = self._parts, self._parts.ledger.record(self.uid)
        choice = choose(
            self._wanted,
            last_of(record.assignment) if record else None,
            served=record is not None and record.good_generation > 0,
            rules=self._rules,
            mode=parts.ledger.mode,
            installed=parts.software.installed,
            missing=parts.software.missing,
            now_s=clock.now(),
        )
        return replace(choice, assignment=_started_by(parts.links, choice.assignment))

    def _monitor_software(self, record: Record) -> str:
        """Hosts first: while some that get calls run other software than is wanted, a monitor that runs stays; so does
        one of a position that is to go."""
        wanted, monitor = self.assignment.software, self._crew.monitor
        rolling = any(software_of(shape) != wanted for shape in record.route.weights)
        if monitor and (self.assignment.wanted.deleting or (rolling and monitor.running)):
            return software_of(monitor.variant)
        return wanted

    def _prepared(self) -> Record:
        """The position's record with all that it must hold before anything is done. Raises: MeshError."""
        ledger = self._parts.ledger
        record = ledger.open_record(self.uid, self.assignment.position)
        ensure_keys(paths_of(record, self._parts.layout))
        record = with_versions(record, self.assignment, ledger.decision(self.uid))
        if self._proving.answered:
            record = with_good(record, self._proving.answered)
        self._shortage = None
        record = replace(record, port=self._port(record))
        record = replace(record, monitor_port=self._monitor_port(record))
        if self._choice.runnable and not self.assignment.wanted.deleting:
            record = replace(record, assignment=self.assignment.message.SerializeToString(deterministic=True))
        ledger.keep_record(record)
        return record

    def _port(self, record: Record) -> int:
        """The position's own port: given out once, free again when it is no longer asked for."""
        if self.assignment.wanted.deleting or not self.assignment.spec.endpoint.dedicated_port:
            return 0
        return record.port or self._free_port(record)

    def _monitor_port(self, record: Record) -> int:
        """The port of its monitor, where that has hosts on other machines; without one it has Unix sockets."""
        return (record.monitor_port or self._free_port(record)) if self._parts.links.over_tcp else 0

    def _free_port(self, record: Record) -> int:
        """0 where there is none."""
        ports = self._parts.ports
        free = (port for port in ports if port != record.port and self._parts.port_is_free(port))
        port = self._parts.ledger.free_port(free)
        if port is None:
            self._shortage = Failure(
                "PORTS_EXHAUSTED",
                f"no port between {ports.start} and {ports.stop - 1} is left for the position",
                "widen the agent's --port-range, or take spec.endpoint.dedicated_port from another position",
            )
        return port or 0

    def _target(self, record: Record) -> Target:
        decision = self._parts.ledger.decision(self.uid)
        target = overlay(self.assignment.wanted, read_decision(decision) if decision else None, record.good)
        return replace(target, shares=()) if self._stood_down() or not self._choice.runnable else target

    @property
    def _unrunnable(self) -> Failure | None:
        return None if self._choice.runnable else self._choice.held

    def _stood_down(self) -> Failure | None:
        """Why it is not to serve: drained by hand, or without the control plane for longer than its spec allows."""
        limit_s = self.assignment.stop_after_s
        if self._parts.solitude.seconds < limit_s:
            return self._parts.ledger.mode.drained
        return Failure(
            "STOPPED_ALONE",
            f"the control plane has not been heard for {limit_s:g} s: alone, it is to serve no longer than that",
            "it serves again as soon as the control plane is back; spec.on_disconnect.stop_after says how long it may",
        )

    def _world(self, record: Record, views: Sequence[HostView], fetches: Fetches) -> World:
        unknown = {digest for digest in fetches.failures if digest not in record.versions}
        return World(
            replicas=tuple(view.replica for view in views),
            fetched=fetches.fetched,
            fetching=fetches.fetching | unknown,
            asked=record.route,
            acknowledged=self._parts.router.acknowledged(self.uid),
        )

    def _new_ids(self, steps: Sequence[Step], record: Record) -> list[str]:
        """Ids that nothing here has, one for each replica to start."""
        taken = {*record.slots, *(seen.id for seen in self._parts.driver.observe(self.uid))}
        ids: list[str] = []
        for _ in (step for step in steps if isinstance(step, Start)):
            ids.append(next(id_ for id_ in iter(self._parts.new_replica_id, None) if id_ not in {*taken, *ids}))
        return ids

    # -- proof

    def _assume_proof(self) -> None:
        """What was proved before the agent was started again."""
        record = self._parts.ledger.record(self.uid)
        if record is not None and record.good_generation and record.route.entries:
            self._proving.assume(Proof(record.good_generation, frozenset(record.route.weights)))

    def _subject(self, record: Record) -> Subject | None:
        """What is to be proved: the version with the most calls, by the name that all that get calls answer to."""
        live = route_of(self._parts.router.live(self.uid))
        if not live.entries or self.assignment.wanted.deleting:
            return None
        heaviest = max(live.entries, key=lambda entry: (entry.weight, entry.shape)).shape
        version = version_of(record, digest_of(heaviest))
        if version is None:
            return None
        renamed = not all(shape.endswith(f"/{self.assignment.wanted.variant}") for shape in live.weights)
        return Subject(
            uid=self.uid,
            generation=self.assignment.generation,
            shapes=frozenset(live.weights),
            gateway_restarts=self._parts.router.restarts,
            version=version,
            package=self._parts.artifacts.package(version.digest),
            serve_as=names.leaf(names.parent(version.name)) if renamed else self.assignment.serve_as,
            signing_key=paths_of(record, self._parts.layout).signing_key,
        )

    # -- telling

    def _tell(self, fetches: Fetches) -> None:
        """Raises: MeshError, where the ledger cannot be written."""
        ledger = self._parts.ledger
        record = ledger.open_record(self.uid, self.assignment.position)
        picture = self._picture(record, fetches)
        if picture.in_service and record.good_generation != picture.generation:
            record = replace(record, good_generation=picture.generation)
            ledger.keep_record(record)
            picture = replace(picture, served_generation=picture.generation)
        self._teller.tell(self.assignment, record, picture)

    def _picture(self, record: Record, fetches: Fetches) -> Picture:
        decision = self._parts.ledger.decision(self.uid)
        error = self._parts.router.error(self.uid)
        monitor = self._teller.monitor_view(self.assignment.position, self._crew.monitor_failure)
        if monitor.connected:
            self._crew.monitor_is_well()
        if (runs := self._crew.monitor) is not None and runs.running:
            monitor = replace(monitor, software=software_of(runs.variant))
        return Picture(
            generation=self.assignment.generation,
            wanted=self.assignment.wanted,
            hosts=self._crew.look(record),
            fetched=fetches.fetched,
            fetch_failures=fetches.failures,
            live=route_of(self._parts.router.live(self.uid)),
            acknowledged=self._parts.router.acknowledged(self.uid),
            route_failure=Failure.of(error) if error else None,
            refusal=self._refusal or self._shortage or self._stood_down() or self._unrunnable,
            held=self._choice.held,
            held_generation=self._wanted.generation if self._choice.held and self._choice.runnable else 0,
            proof=self._proving.proof,
            monitor=monitor,
            verdicts=tuple(decision.verdicts) if decision else (),
            served_generation=record.good_generation,
            endpoint=endpoint(
                record,
                gateway=self._parts.gateway_address,
                domain=self._parts.domain,
                serve_as=self.assignment.serve_as,
            ),
        )

    def _event(self, reason: str, message: str) -> None:
        self._parts.reports.event(self.assignment.position, reason, message)

    def _pause_s(self) -> float:
        """Until the next thing that happens by itself."""
        now_s = asyncio.get_running_loop().time()
        times = [now_s + LOOK_EVERY_S, self._crew.next_look_s(), self._teller.next_look_s(now_s)]
        alone_s = self._parts.solitude.seconds
        if alone_s and alone_s < self.assignment.stop_after_s:
            times.append(now_s + self.assignment.stop_after_s - alone_s)
        again_s = delay_s(self._failures) if self._failures else self._parts.links.due_in_s(self.uid)
        times.append(now_s + again_s)
        return max(PAUSE_S, min(time for time in times if time is not None) - now_s)


def _started_by(links: Links, assignment: Assignment) -> Assignment:
    """With the way to the monitor as a part of what hosts are started with."""
    wanted = replace(assignment.wanted, variant=links.variant(assignment.wanted.variant))
    return replace(assignment, wanted=wanted)
