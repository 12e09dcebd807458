"""Positions under load: second by second, with hosts that report once a second and take their time to start.

A host here does CAPACITY calls a second and refuses the others, as ours do with calls that have deadlines. Calls arrive
at random around the rate of a trace.
"""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from position_monitor.autoscale import Autoscaler, Autoscaling, Bounds
from position_monitor.demand import DEFAULT, Targets
from position_monitor.window import Counts, Window

CAPACITY = 100.0
RUN_S = 1.0 / CAPACITY
WIDE = Bounds(1, 64)


@dataclass
class Host:
    ready_s: float


@dataclass
class Run:
    """What became of a trace."""

    numbers: list[int] = field(default_factory=list)
    """Replicas at the end of each second."""
    asked: float = 0.0
    missed: float = 0.0

    @property
    def turns(self) -> int:
        """How often the number went up after it had gone down, or the other way round."""
        steps = [after - before for before, after in zip(self.numbers, self.numbers[1:], strict=False)]
        moves = [step > 0 for step in steps if step]
        return sum(one != other for one, other in itertools.pairwise(moves))


def play(
    rates: Iterable[float], targets: Targets = DEFAULT, *, start_s: float = 1.0, bounds: Bounds = WIDE, seed: int = 1
) -> Run:
    """rates: calls a second, for each second."""
    rng, scaler, run = random.Random(seed), Autoscaler(), Run()
    hosts = {f"r-{index:06}": Host(0.0) for index in range(bounds.replicas_min)}
    made = len(hosts)
    for second, rate in enumerate(rates):
        now_s = float(second)
        ready = sorted(name for name, host in hosts.items() if host.ready_s <= now_s)
        scaler.see(sorted(hosts.keys() - set(ready)), ready, now_s)
        calls = max(0.0, rng.gauss(rate, math.sqrt(rate)))
        run.asked += calls
        each = calls / len(ready)
        run.missed += max(0.0, each - CAPACITY) * len(ready)
        scaler.demand.hear(Window(dict.fromkeys(ready, counted(each))), {}, now_s)
        chosen = scaler.choose(Autoscaling(bounds, targets), len(hosts), ready, now_s).replicas
        for index in range(made, made + chosen - len(hosts)):
            hosts[f"r-{index:06}"] = Host(now_s + start_s)
            made += 1
        for name in scaler.demand.idlest(list(hosts))[: len(hosts) - chosen]:
            del hosts[name]
        run.numbers.append(len(hosts))
    return run


def counted(calls: float) -> Counts:
    """A second of one host. Waiting as behind a single server with runs of one length (Pollaczek and Khinchine)."""
    done = min(calls, CAPACITY)
    share = done / CAPACITY
    waited_s = RUN_S * share / (2 * (1 - min(share, 0.98)))
    return Counts(
        1.0,
        requests=round(calls),
        deadline_misses=round(calls - done),
        inside_s=done * (RUN_S + waited_s),
        waiting_s=done * waited_s,
        busy_s=share,
        processes=1,
    )


def steady(rate: float, seconds: int) -> Sequence[float]:
    return [rate] * seconds


@pytest.mark.parametrize("targets", [DEFAULT, Targets(concurrency=1.5), Targets(queue_time_s=RUN_S)])
@pytest.mark.parametrize("rate", [30.0, 200.0, 900.0])
def test_a_load_that_is_steady_but_for_chance_does_not_make_it_flap(targets: Targets, rate: float) -> None:
    run = play(steady(rate, 3600), targets)
    settled = Run(run.numbers[600:])
    assert settled.turns <= 6
    assert run.missed <= 0.01 * run.asked


@pytest.mark.parametrize("start_s", [0.5, 5.0, 30.0])
def test_a_load_that_jumps_is_met_as_fast_as_hosts_start_and_without_excess(start_s: float) -> None:
    run = play([*steady(50, 60), *steady(1000, 120)], start_s=start_s)
    enough = next(second for second, number in enumerate(run.numbers) if number >= 1000 / CAPACITY)
    assert enough - 60 <= 8 + 2 * start_s
    assert max(run.numbers) <= 2 * 1000 / CAPACITY / 0.7
    assert run.turns == 0


def test_a_load_that_grows_slowly_is_never_refused() -> None:
    run = play([rate / 10 for rate in range(300, 9000)])
    assert run.missed <= 0.001 * run.asked
    assert run.turns <= 4


def test_a_lull_of_half_a_minute_is_survived_and_a_longer_one_saves() -> None:
    run = play([*steady(500, 120), *steady(10, 30), *steady(500, 60)])
    assert min(run.numbers[60:]) >= 500 / CAPACITY
    assert play([*steady(500, 120), *steady(10, 90)]).numbers[-1] == 1


def test_a_position_that_cannot_grow_stays_at_its_bound() -> None:
    run = play(steady(1000, 120), bounds=Bounds(1, 3))
    assert run.numbers[-60:] == [3] * 60


def test_bursts_every_minute_are_met_by_what_the_first_one_asked_for() -> None:
    minute = [*steady(20, 50), *steady(600, 10)]
    run = play(minute * 10)
    assert min(run.numbers[120:]) >= 6
    assert run.turns <= 2
