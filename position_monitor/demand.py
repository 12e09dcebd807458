"""How many replicas a load asks for: a pure function of what they report, and of what was learned from it.

**What can be divided.** CPU, memory and calls that are being answered add up: so many replicas are asked for that each
has its target's share of the sum. That is the rule of Kubernetes' HorizontalPodAutoscaler, `ceil(current * mean /
target)`, and nothing follows while the mean is within the tolerance of its target.

**What cannot.** Calls that wait, and deadlines that are missed, say that there are too few replicas; not how many would
do, since a host that is nearly full has any number of them, and not how many could go. What does add up is how busy the
replicas are: their *utilization*, of which 1 is all that a host can do. So these targets are met by keeping it below a
limit, which is learned: a target that is missed although it was kept lowers it, and it comes back by itself over the
next hours. A host that has nothing left to give refuses calls: it is asked for more than it does, by as much as that.

The limit never goes below UTILIZATION_MIN: replicas that are idle most of the time are not what calls wait for, and
more of them would not help.

**Who is silent** proves nothing. Replicas that should have reported are taken to do as much as their target says where
fewer are asked for, and nothing where more are. Those that start count as if they were there already: they are the
answer to what is measured now, which must not be given twice.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from position_monitor.usage import Usage
from position_monitor.window import Counts, Window

UTILIZATION_MAX = 0.7  # for deadlines: above, calls wait more than one run on average (Pollaczek and Khinchine)
UTILIZATION_MAX_WAITING = 0.9  # for callers who say themselves how long they like to wait
UTILIZATION_MIN = 0.2
LOWERED = 0.9  # of the utilization at which a target was missed
RECOVERY_PER_S = 0.25 / 3600
SATURATED = 0.9  # a host that is so busy refuses because it must
EXCESS_MAX = 4.0  # of what is asked over what is done: who is refused calls again, and is counted again
MISSES_MIN = 3  # one may be the caller's own pause
EVIDENCE_S = 2.0  # for so long targets must be missed before the limit is lowered
EVIDENCE_S_MAX = 10.0
SILENT_S = 3.5  # hosts report once a second
ROUNDING = 1e-9  # of sums of floats


@dataclass(frozen=True, slots=True)
class Targets:
    """Means of a replica; 0: none."""

    cpu: float = 0.0
    """CPUs."""
    memory_bytes: float = 0.0
    concurrency: float = 0.0
    queue_time_s: float = 0.0
    deadline_miss_rate: float = 0.0
    """0..1."""


DEFAULT = Targets(deadline_miss_rate=0.01)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Shares by which a mean may be above or below its target."""

    above: float
    below: float


USUAL = Tolerance(0.1, 0.1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A number of replicas, without regard to bounds, and what asks for it, in words."""

    replicas: int
    why: str


@dataclass(frozen=True, slots=True)
class _Sum:
    """Of something over the replicas that reported, with what one of them should have of it."""

    total: float
    target: float
    silent: int
    """Replicas that should have reported."""
    why: str

    def replicas(self, current: int, tolerance: Tolerance) -> int:
        ratio = self.total / (self.target * current)
        if 1.0 - tolerance.below <= ratio <= 1.0 + tolerance.above:
            return current
        needed = math.ceil(self.total / self.target - ROUNDING)
        return needed if needed >= current else min(current, needed + self.silent)


class _Evidence:
    """What replicas did while they were no busier than the limit allows."""

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self._all = Counts()
        self._against = Counts()
        """Of the reports in which targets were missed."""
        self._first_s = self._last_s = math.inf

    def add(self, counts: Counts, targets: Targets, above: float, now_s: float) -> None:
        self._all += counts
        if _missed(targets, counts, above):
            self._against += counts
            self._first_s, self._last_s = min(self._first_s, now_s), now_s

    def speaks(self, targets: Targets, above: float) -> bool:
        """Whether targets were missed, all in all and for a while.

        A load that has just come looks like it once: in the report of a second that was quiet at first.
        """
        return self._last_s - self._first_s >= EVIDENCE_S and _missed(targets, self._all, above)

    @property
    def utilization(self) -> float:
        """At which they were missed."""
        return self._against.utilization


class Demand:
    """Of one position. Times are seconds on a clock that rises."""

    def __init__(self) -> None:
        self.limit = UTILIZATION_MAX_WAITING
        """What utilization is kept below, as far as was learned."""
        self._heard: dict[str, tuple[Counts, float]] = {}
        """The last report of each replica, and when it came."""
        self._usage: Mapping[str, Usage] = {}
        self._serving: frozenset[str] = frozenset()
        self._bearable = 0.0
        """Utilization up to which a missed target speaks against the limit, and not against the number."""
        self._targets, self._above = DEFAULT, USUAL.above
        self._evidence = _Evidence(0.0)

    def hear(self, window: Window, usage: Mapping[str, Usage], now_s: float) -> None:
        """What replicas counted since they were heard last, and what they use. By id."""
        self._usage = usage
        for replica, counts in window.replicas.items():
            if not counts.processes:
                continue  # its software is older than these figures
            self._heard[replica] = (counts, now_s)
            if replica in self._serving and counts.utilization <= self._bearable:
                self._evidence.add(counts, self._targets, self._above, now_s)

    def asked(
        self, targets: Targets, tolerance: Tolerance, current: int, serving: Collection[str], now_s: float
    ) -> Asked | None:
        """What is asked for, beginning with `current` replicas, of which those `serving` get calls (ids).

        None where no replica has reported lately.
        """
        self._heard = {replica: heard for replica, heard in self._heard.items() if heard[1] > now_s - SILENT_S}
        known = {replica: self._heard[replica][0] for replica in sorted(serving) if replica in self._heard}
        if not known:
            return None
        self._learn(targets, tolerance, frozenset(serving), len(serving) >= current, now_s)
        sums = self._sums(targets, known, current, len(serving))
        return max(
            [Asked(each.replicas(current, tolerance), each.why) for each in sums], key=lambda each: each.replicas
        )

    def idlest(self, replicas: Collection[str]) -> list[str]:
        """`replicas`, those with the least to do first; who is not heard does nothing."""
        return sorted(replicas, key=lambda replica: (self._concurrency(replica), replica))

    def _concurrency(self, replica: str) -> float:
        heard = self._heard.get(replica)
        return heard[0].concurrency if heard else 0.0

    def _sums(self, targets: Targets, known: Mapping[str, Counts], current: int, serving: int) -> Iterator[_Sum]:
        used = [self._usage[replica] for replica in known if replica in self._usage]
        unseen, silent = serving - len(used), serving - len(known)
        if targets.cpu:
            cpu = sum(each.cpu for each in used)
            why = f"{cpu / current:.2f} CPUs a replica, {targets.cpu:.2f} is the target"
            yield _Sum(cpu, targets.cpu, unseen, why)
        if targets.memory_bytes:
            memory = sum(each.memory_bytes for each in used)
            mean, target = memory / current / (1 << 20), targets.memory_bytes / (1 << 20)
            why = f"{mean:.0f} MiB a replica, {target:.0f} MiB is the target"
            yield _Sum(memory, targets.memory_bytes, unseen, why)
        if targets.concurrency:
            answered = sum(counts.concurrency - counts.waiting for counts in known.values())
            why = f"{answered / current:.1f} calls at a time a replica, {targets.concurrency:g} is the target"
            yield _Sum(answered, targets.concurrency, silent, why)
        if targets.concurrency or targets.queue_time_s or targets.deadline_miss_rate:
            work = sum(_work(counts) for counts in known.values())
            why = f"replicas are asked for {work / current:.0%} of what they can do, {self.limit:.0%} is the limit"
            yield _Sum(work, self.limit, silent, why)

    def _learn(
        self, targets: Targets, tolerance: Tolerance, serving: frozenset[str], complete: bool, now_s: float
    ) -> None:
        """Lowers the limit where a target was missed although it was kept, by all replicas that there should be."""
        most = UTILIZATION_MAX if targets.deadline_miss_rate else UTILIZATION_MAX_WAITING
        self.limit = min(self.limit, most)
        spent_s = now_s - self._evidence.since_s
        if serving != self._serving or not complete:
            self._serving, self._evidence = serving, _Evidence(now_s)
        elif self._evidence.speaks(targets, tolerance.above):
            self.limit = max(UTILIZATION_MIN, min(self.limit, self._evidence.utilization) * LOWERED)
            self._evidence = _Evidence(now_s)
        elif spent_s >= EVIDENCE_S_MAX:
            self.limit = min(most, self.limit + RECOVERY_PER_S * spent_s)
            self._evidence = _Evidence(now_s)
        self._targets, self._above = targets, tolerance.above
        self._bearable = self.limit * (1.0 + tolerance.above)


def _missed(targets: Targets, counts: Counts, above: float) -> bool:
    """Whether one of the targets for what does not add up was missed."""
    waiting, misses = counts.waiting, counts.deadline_misses
    crowded = targets.concurrency > 0.0 and (
        counts.concurrency - waiting <= targets.concurrency * (1.0 + above) < counts.concurrency
    )
    slow = 0.0 < targets.queue_time_s * (1.0 + above) < counts.queue_time_s
    late = misses >= MISSES_MIN and 0.0 < targets.deadline_miss_rate * counts.requests < misses
    return crowded or slow or late


def _work(counts: Counts) -> float:
    """What a replica was asked to do, in all that it can."""
    done = counts.requests - counts.deadline_misses
    if counts.utilization < SATURATED or done >= counts.requests:
        return counts.utilization
    return counts.utilization * min(EXCESS_MAX, counts.requests / max(done, 1))
