"""The processes of one position: who runs, who answers, who may be started again and when.

Everything is asked for anew with each look; what is remembered here (how starts went, why the last one failed) only
spares the machine and informs people, and may be lost with the agent.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from edge_agent.backoff import Restarts
from edge_agent.drivers.base import MONITOR, Driver, HostSet, Lineup, MonitorMode, Observed, TcpLinks
from edge_agent.failure import Failure
from edge_agent.position.diff import Phase
from edge_agent.position.picture import HostView
from edge_agent.position.record import Record
from edge_agent.position.replicas import NEVER_STARTED, host_views
from edge_agent.reconcile.gate import LOADING_S, StartGate
from edge_agent.reconcile.health import Health, Patient

log = structlog.get_logger()

START_WITHIN_S = 300.0  # for a host to answer its first health check: a model of gigabytes from a slow disk

Tell = Callable[[str, str], None]
"""Reason and message of an event."""


class Crew:
    """Of one position."""

    def __init__(
        self, uid: str, driver: Driver, health: Health, gate: StartGate, tell: Tell, *, hung_after_s: float
    ) -> None:
        """hung_after_s: a host that is SILENT so long is ended and started again."""
        self._uid = uid
        self._driver = driver
        self._health = health
        self._gate = gate
        self._tell = tell
        self._hung_after_s = hung_after_s
        self._restarts: dict[str, Restarts] = {}
        self._failures: dict[str, Failure] = {}
        self._observed: dict[str, Observed] = {}
        self._monitor_well_at = 0
        """Number of the monitor's start that was last known to be well."""
        self._lineup: Lineup | None = None
        self._adopted = False

    def look(self, record: Record) -> tuple[HostView, ...]:
        """All replicas, as they are now."""
        self._observed = {seen.id: seen for seen in self._driver.observe(self._uid)}
        self._forget_the_gone()
        for seen in self._observed.values():
            if not seen.running and not seen.draining and seen.starts:
                self._note_end(seen)
        self._follow(record)
        self._gate.report(self._uid, self._loading())
        views = host_views(
            record, tuple(self._observed.values()), self._phase, self._restarts, self._failures, _now_s()
        )
        for view in views:
            if view.ready:
                self._failures.pop(view.replica.id, None)
        crowded = any(_startable(view) for view in views) and not self._gate.room(self._uid)
        return tuple(_resting(view) if crowded and _startable(view) else view for view in views)

    def admitted(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that may be started now: as many as there is room for."""
        return set(sorted(ids)[: self._gate.room(self._uid)]) if ids else set()

    @property
    def empty(self) -> bool:
        """Whether nothing is left at all."""
        return not self._observed

    @property
    def monitor(self) -> Observed | None:
        return self._observed.get(MONITOR)

    @property
    def monitor_failure(self) -> Failure | None:
        """Why it ended last, while it is not known to be well."""
        return self._failures.get(MONITOR)

    def monitor_is_well(self) -> None:
        """It is connected: whatever it died of before is over."""
        self._failures.pop(MONITOR, None)
        if self.monitor is not None:
            self._monitor_well_at = self.monitor.starts

    async def arrange(
        self,
        record: Record,
        hosts: tuple[HostSet, ...],
        *,
        monitor: str | None,
        grace_s: float,
        links: TcpLinks | None = None,
    ) -> None:
        """Makes these run or rest, and drains all others. monitor: its software; None: there shall be none.

        Raises: MeshError.
        """
        mode = MonitorMode.STOP if monitor is None else self._monitor_mode()
        lineup = Lineup(record.uid, record.position, record.short, hosts, mode, monitor or "", links)
        if lineup != self._lineup or not self._runs(lineup):
            self._lineup = None  # unless it is taken as a whole
            await self._driver.apply(lineup, grace_s=grace_s)
            self._lineup = lineup

    async def end_hung(self) -> None:
        """Hosts that do not serve any more, or never did, are ended; their back-off does the rest."""
        for seen in self._observed.values():
            pulse = self._health.pulse(_patient(self._uid, seen))
            if pulse is None or not seen.running or seen.draining:
                continue
            age_s = _now_s() - pulse.since_s
            if pulse.phase is Phase.SILENT and age_s >= self._hung_after_s:
                why = Failure("NOT_ANSWERING", f"for {age_s:.0f} s it did not say that it serves")
            elif pulse.phase is Phase.STARTING and age_s >= START_WITHIN_S:
                why = Failure("START_TIMEOUT", f"it was not ready {age_s:.0f} s after its start")
            else:
                continue
            log.warning("host_hung", replica=seen.id, reason=why.reason)
            await self._driver.kill(self._uid, seen.id, why)

    def next_look_s(self) -> float | None:
        """On the event loop's clock: when a back-off or a patience is over; None where nothing is waited for."""
        times = [r.due_s for id_, r in self._restarts.items() if r.due_s > _now_s() and id_ in self._observed]
        for seen in self._observed.values():
            pulse = self._health.pulse(_patient(self._uid, seen))
            if pulse is not None and pulse.phase is not Phase.READY:
                times.append(pulse.since_s + (self._hung_after_s if pulse.phase is Phase.SILENT else START_WITHIN_S))
        return min(times, default=None)

    # ------------------------------------------------------------------------------------------------------------------

    def _forget_the_gone(self) -> None:
        for remembered in (self._restarts, self._failures):
            for id_ in remembered.keys() - self._observed.keys():
                del remembered[id_]

    def _note_end(self, seen: Observed) -> None:
        before = self._restarts.get(seen.id, NEVER_STARTED)
        after = before.after_end(seen.starts, was_well=self._was_well(seen), now_s=_now_s())
        if after is before:
            return
        self._restarts[seen.id] = after
        if seen.failure is not None:
            self._failures[seen.id] = seen.failure
            who = "the monitor" if seen.id == MONITOR else f"replica {seen.id}"
            reason = "MONITOR_FAILED" if seen.id == MONITOR else "REPLICA_FAILED"
            self._tell(reason, f"{who} ended (start {seen.starts}): {seen.failure.message}")

    def _was_well(self, ended: Observed) -> bool:
        """Whether a host had answered, or a monitor had connected, since it was started last."""
        if ended.id == MONITOR:
            return self._monitor_well_at == ended.starts
        pulse = self._health.pulse(_patient(self._uid, ended))
        return pulse is not None and pulse.phase is not Phase.STARTING

    def _follow(self, record: Record) -> None:
        """Those that served before the agent was started again are taken to serve until checks say otherwise."""
        hosts = [seen for seen in self._observed.values() if seen.id != MONITOR and seen.running and not seen.draining]
        assumed = frozenset[str]() if self._adopted else record.route.replicas
        self._health.watch(self._uid, [_patient(self._uid, seen) for seen in hosts], assumed)
        self._adopted = True

    def _loading(self) -> int:
        """Hosts that take the CPU to start."""
        pulses = [self._health.pulse(_patient(self._uid, seen)) for seen in self._observed.values() if seen.running]
        return sum(p is not None and p.phase is Phase.STARTING and _now_s() - p.since_s < LOADING_S for p in pulses)

    def _phase(self, seen: Observed) -> Phase:
        pulse = self._health.pulse(_patient(self._uid, seen))
        return pulse.phase if pulse is not None else Phase.STARTING

    def _monitor_mode(self) -> MonitorMode:
        seen = self.monitor
        due = self._restarts.get(MONITOR, NEVER_STARTED).due_s <= _now_s()
        return MonitorMode.RUN if due or (seen is not None and seen.running) else MonitorMode.REST

    def _runs(self, lineup: Lineup) -> bool:
        """Whether everything that shall run does."""
        wanted: Sequence[str] = [id_ for hosts in lineup.hosts for id_ in hosts.replicas]
        if lineup.monitor is MonitorMode.RUN:
            wanted = [*wanted, MONITOR]
        return all(id_ in self._observed and self._observed[id_].running for id_ in wanted)


def _startable(view: HostView) -> bool:
    return view.replica.phase is Phase.ENDED and view.replica.due


def _resting(view: HostView) -> HostView:
    return replace(view, replica=replace(view.replica, due=False))


def _patient(uid: str, seen: Observed) -> Patient:
    return Patient(uid, seen.id, seen.starts, seen.address)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
