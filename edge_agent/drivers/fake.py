"""A driver whose processes exist in memory only, with knobs to let them fail: for tests, and to try the agent out.

The processes live in a `FakeMachine` that several drivers may share one after the other, as the drivers of a killed and
a restarted agent share a machine. Time is the event loop's, so a test may let it jump. A machine of another temper
overrides `fate`; what else it overrides (`began`, `ended`, `later`) tells a simulator what happens, and lets processes
outlive the agent that started them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edge_agent.drivers.base import MONITOR, Fingerprint, HostSet, Lineup, MonitorMode, Observed
from edge_agent.failure import Failure
from edge_agent.machine.software import software_of
from edge_agent.model_version import NO_VERSION, Version
from waypost.errors import Precondition


@dataclass(slots=True)
class FakeProcess:
    """What a real one would be."""

    observed: Observed
    answers_from_s: float = 0.0
    """Loop time at which it begins to answer its health checks."""
    in_flight_s: float = 0.0
    """How long it needs to finish when it is drained."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one start. Seconds from the moment when it was asked for."""

    answers_after_s: float = 0.0
    """Until it answers its health checks; infinite: never."""
    ends_after_s: float | None = None
    """None: it does not end by itself."""
    failure: Failure | None = None
    """What it ends with."""
    drain_s: float = 0.0
    """From SIGTERM to its end."""


@dataclass(slots=True)
class FakeMachine:
    """The processes, and how they behave from their next start on."""

    start_delay_s: float = 0.0
    """Until a process that was asked for runs."""
    ready_delay_s: float = 0.0
    """From running to answering."""
    crash_after_s: float = 0.0
    """From running to its end; 0: never."""
    drain_s: float = 0.0
    """From SIGTERM to the end."""
    fail_start: set[str] = field(default_factory=set)
    """Digests of versions whose hosts end at once, and replica ids."""
    limits_supported: bool = True
    processes: dict[str, dict[str, FakeProcess]] = field(default_factory=dict)
    wake: Callable[[str], None] = lambda uid: None
    starts: int = 0
    """All starts ever."""

    def of(self, uid: str) -> dict[str, FakeProcess]:
        return self.processes.setdefault(uid, {})

    def fate(self, id_: str, version: Version) -> Fate:
        """Of the next start of a host of this version, or of a monitor."""
        answers_after_s = self.start_delay_s + self.ready_delay_s
        if self.fail_start & {version.digest, id_}:
            failure = Failure("LOAD_FAILED", "the model cannot be loaded", "publish another version")
            return Fate(answers_after_s, self.start_delay_s, failure, self.drain_s)
        if self.crash_after_s:
            failure = Failure("CRASHED", "its process ended with exit code 1")
            return Fate(answers_after_s, self.start_delay_s + self.crash_after_s, failure, self.drain_s)
        return Fate(answers_after_s, drain_s=self.drain_s)

    def began(self, lineup: Lineup, observed: Observed) -> None:
        """A process was started."""

    def drains(self, uid: str, observed: Observed) -> None:
        """A process was told to finish and go, or its last traces are removed."""

    def ended(self, uid: str, observed: Observed) -> None:
        """A process is no more."""

    def later(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        """What a process will do by itself."""
        asyncio.get_running_loop().call_later(delay_s, act, *arguments)

    def answers(self, uid: str, id_: str) -> bool:
        """What a health check would say."""
        process = self.of(uid).get(id_)
        now_s = asyncio.get_running_loop().time()
        return bool(process and process.observed.running and now_s >= process.answers_from_s)

    def end(self, uid: str, id_: str, failure: Failure | None = None) -> None:
        """As kill -9 would, or a crash."""
        process = self.of(uid).get(id_)
        if process is None or not process.observed.running:
            return
        if process.observed.draining:
            del self.of(uid)[id_]
        else:
            failure = failure or Failure("KILLED", "its process was killed")
            process.observed = replace(process.observed, running=False, failure=failure)
        self.ended(uid, process.observed)
        self.wake(uid)


class FakeDriver:
    """See base.Driver."""

    name = "fake"

    def __init__(self, machine: FakeMachine | None = None) -> None:
        self.machine = machine or FakeMachine()

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(2000, 4 << 30, "x86_64", ("CPUExecutionProvider",), "0")

    def positions(self) -> frozenset[str]:
        return frozenset(uid for uid, processes in self.machine.processes.items() if processes)

    def observe(self, uid: str) -> Sequence[Observed]:
        return [process.observed for _, process in sorted(self.machine.of(uid).items())]

    def warm_up(self) -> None:
        pass

    def on_change(self, wake: Callable[[str], None]) -> None:
        self.machine.wake = wake

    async def apply(self, lineup: Lineup, *, grace_s: float) -> None:
        if not self.machine.limits_supported and any(hosts.limits for hosts in lineup.hosts):
            raise Precondition("LIMITS_UNSUPPORTED", "spec.resources cannot be kept here", "remove spec.resources")
        asked = {id_ for hosts in lineup.hosts for id_ in (*hosts.replicas, *hosts.resting)}
        if lineup.monitor is not MonitorMode.STOP:
            asked.add(MONITOR)
        for id_ in self.machine.of(lineup.uid).keys() - asked:
            self._drain(lineup.uid, id_, grace_s)
        if lineup.monitor is MonitorMode.RUN:
            self._run_monitor(lineup, grace_s)
        for hosts in lineup.hosts:
            for id_ in hosts.replicas:
                self._run(lineup, id_, hosts)

    async def kill(self, uid: str, id_: str, why: Failure) -> None:
        self.machine.end(uid, id_, why)

    async def logs(self, uid: str, tail_lines: int) -> dict[str, str]:
        return {id_: f"{id_} was started {p.observed.starts} times" for id_, p in sorted(self.machine.of(uid).items())}

    async def close(self) -> None:
        self.machine.wake = lambda uid: None

    def _run_monitor(self, lineup: Lineup, grace_s: float) -> None:
        runs = self.machine.of(lineup.uid).get(MONITOR)
        if runs is not None and runs.observed.running and software_of(runs.observed.variant) != lineup.monitor_software:
            self._drain(lineup.uid, MONITOR, grace_s)
        else:
            self._run(lineup, MONITOR, None)

    def _run(self, lineup: Lineup, id_: str, hosts: HostSet | None) -> None:
        before = self.machine.of(lineup.uid).get(id_)
        if before is not None and before.observed.running:
            return
        loop, machine = asyncio.get_running_loop(), self.machine
        machine.starts += 1
        version = hosts.version if hosts else NO_VERSION
        observed = Observed(
            id=id_,
            running=True,
            version=version,
            variant=hosts.variant if hosts else f"@{lineup.monitor_software}",
            starts=before.observed.starts + 1 if before else 1,
            started_s=loop.time(),
            pid=machine.starts,
            address=f"unix:/fake/{lineup.short}/{id_}.sock",
        )
        fate = machine.fate(id_, version)
        process = FakeProcess(observed, loop.time() + fate.answers_after_s, fate.drain_s)
        machine.of(lineup.uid)[id_] = process
        if fate.ends_after_s is not None:
            machine.later(fate.ends_after_s, self._crash, lineup.uid, observed, fate.failure)
        machine.began(lineup, observed)
        machine.wake(lineup.uid)

    def _crash(self, uid: str, started: Observed, failure: Failure | None) -> None:
        """Ends that very start, and no later one."""
        process = self.machine.of(uid).get(started.id)
        if process is not None and process.observed.starts == started.starts:
            self.machine.end(uid, started.id, failure)

    def _drain(self, uid: str, id_: str, grace_s: float) -> None:
        process = self.machine.of(uid)[id_]
        if process.observed.draining:
            return
        self.machine.drains(uid, process.observed)
        if not process.observed.running:
            del self.machine.of(uid)[id_]
            return
        process.observed = replace(process.observed, draining=True)
        delay_s = min(process.in_flight_s, grace_s)
        self.machine.later(delay_s, self.machine.end, uid, id_)
