"""How many replicas a position has: what its load asks for, no faster than its spec allows. Pure.

    Demand.asked ──▶ stabilization window ──▶ policies ──▶ bounds

The terms and rules are those of Kubernetes' HorizontalPodAutoscaler, autoscaling/v2 (`behavior` in its reference):

* of the numbers that were asked for within the *stabilization window*, the least is scaled up to, the most down to; at
  first, before anything was asked for, the window holds the number that there is;
* a *policy* bounds the change, up and down together, that a period may see, in replicas or in hundredths of those that
  there were when it began; of several one selects the largest or the smallest, or forbids the direction.

One rule is ours: a replica is not given up for a lull that is shorter than twice the time that starting one takes here.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from position_monitor.demand import DEFAULT, USUAL, Demand, Targets, Tolerance

PERIOD_S_MAX = 1800.0  # of a policy
STARTS = 2.0  # that a lull must outlast


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas that the spec allows, both inclusive."""

    replicas_min: int
    replicas_max: int

    def __post_init__(self) -> None:
        assert 1 <= self.replicas_min <= self.replicas_max

    @property
    def fixed(self) -> bool:
        """Whether they leave no choice."""
        return self.replicas_min == self.replicas_max

    def hold(self, replicas: int) -> int:
        """The allowed number that is nearest."""
        return max(self.replicas_min, min(replicas, self.replicas_max))

    def told(self, replicas: int) -> str:
        """`replicas` in words that follow `serves with`."""
        counted = counted_replicas(replicas)
        if self.fixed:
            return counted
        if replicas == self.replicas_min:
            return f"{counted}, the least that its spec allows"
        if replicas == self.replicas_max:
            return f"{counted}, the most that its spec allows"
        return f"{counted}, inside {self.replicas_min}..{self.replicas_max}"


class Select(Enum):
    """Which of several policies counts."""

    LARGEST = "largest"
    SMALLEST = "smallest"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """By how much the number may change within a period: by `replicas`, or where that is 0 by a share of them."""

    period_s: float
    replicas: int = 0
    share: float = 0.0

    def step(self, begun: int) -> int:
        """begun: replicas when the period began."""
        return self.replicas or math.ceil(begun * self.share)


@dataclass(frozen=True, slots=True)
class Rules:
    """For one direction."""

    window_s: float
    policies: tuple[Policy, ...]
    select: Select = Select.LARGEST


UP = Rules(0.0, (Policy(2.0, replicas=4), Policy(2.0, share=1.0)))
"""As soon as it is known: what was answered is measured within two seconds."""
DOWN = Rules(60.0, (Policy(15.0, share=1.0),))


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """What a position is scaled by."""

    bounds: Bounds
    targets: Targets = DEFAULT
    tolerance: Tolerance = USUAL
    up: Rules = UP
    down: Rules = DOWN


@dataclass(frozen=True, slots=True)
class Scale:
    """A number of replicas, and why in words."""

    replicas: int
    why: str


class Autoscaler:
    """Of one position; remembers what was asked for. Times are seconds on a clock that rises."""

    def __init__(self) -> None:
        self.demand = Demand()
        self._least = _Extremum(min)
        self._most = _Extremum(max)
        self._changes: deque[tuple[float, int]] = deque()
        self._current = 0
        self._starting: dict[str, float] = {}
        self._start_s = 0.0

    def see(self, starting: Collection[str], ready: Collection[str], now_s: float) -> None:
        """Ids of the replicas that start and that answer now: how long a start takes is learned from it."""
        for replica in ready:
            if replica in self._starting:
                self._start_s = now_s - self._starting[replica]
        self._starting = {replica: self._starting.get(replica, now_s) for replica in starting}

    def choose(self, wanted: Autoscaling, current: int, serving: Collection[str], now_s: float) -> Scale:
        """current: replicas that were decided, at least 1. serving: ids of those that get calls."""
        self._follow(current, now_s)
        asked = self.demand.asked(wanted.targets, wanted.tolerance, current, serving, now_s)
        replicas = asked.replicas if asked is not None else current
        least = self._least.add(replicas, wanted.up.window_s, now_s)
        most = self._most.add(replicas, max(wanted.down.window_s, STARTS * self._start_s), now_s)
        stable = min(max(current, least), most)
        if stable > current:
            stable = min(stable, max(current, self._limit(wanted.up, current, 1, now_s)))
        elif stable < current:
            stable = max(stable, min(current, self._limit(wanted.down, current, -1, now_s)))
        held = wanted.bounds.hold(stable)
        follows = asked is not None and (held - current) * (stable - current) > 0
        return Scale(held, asked.why if asked is not None and follows else "its spec has other bounds")

    def _follow(self, current: int, now_s: float) -> None:
        """What the number has become, whoever changed it."""
        if not self._current:
            self._least.add(current, 0.0, now_s)
            self._most.add(current, 0.0, now_s)
        elif current != self._current:
            self._changes.append((now_s, current - self._current))
        while self._changes and self._changes[0][0] <= now_s - PERIOD_S_MAX:
            self._changes.popleft()
        self._current = current

    def _limit(self, rules: Rules, current: int, sign: int, now_s: float) -> int:
        """How far the policies let it go. sign: 1 up, -1 down."""
        if rules.select is Select.DISABLED:
            return current
        limits = [sign * self._allowed(policy, current, sign, now_s) for policy in rules.policies]
        return sign * (max(limits) if rules.select is Select.LARGEST else min(limits))

    def _allowed(self, policy: Policy, current: int, sign: int, now_s: float) -> int:
        begun = current - sum(change for at_s, change in self._changes if at_s > now_s - policy.period_s)
        return begun + sign * policy.step(begun)


class _Extremum:
    """The least or the most of the numbers of a sliding window. Keeps one entry for each number at most."""

    def __init__(self, choose: Callable[[Iterable[int]], int]) -> None:
        self._choose = choose
        self._numbers: deque[tuple[float, int]] = deque()
        """The extremum first; behind each one only what is newer and less extreme."""

    def add(self, number: int, window_s: float, now_s: float) -> int:
        """Returns the extremum of the last `window_s`, `number` included."""
        while self._numbers and self._choose((number, self._numbers[-1][1])) == number:
            self._numbers.pop()
        self._numbers.append((now_s, number))
        while len(self._numbers) > 1 and self._numbers[0][0] <= now_s - window_s:
            self._numbers.popleft()
        return self._numbers[0][1]


def counted_replicas(replicas: int) -> str:
    return f"{replicas} replica" if replicas == 1 else f"{replicas} replicas"
