"""More calls than a host can answer: what it lets in it answers in time, and what it cannot it refuses at once.

A host on one event loop, simulated: it reads all that has come, offers it to the real queue, runs the model for a turn,
writes the answers. Reading and writing cost more than the tiny model, as they do; no clock but this one is used.
"""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from inference_host.serving.backlog import Job
from inference_host.serving.batching import Queue
from inference_host.serving.estimates import Estimates
from inference_host.serving.execution import INLINE_MAX_S

READ_S, WRITE_S = 40e-6, 15e-6  # of a call, besides its run
TIMEOUT_S = 0.05
SECONDS = 1.0


def run_s(rows: int) -> float:
    return 55e-6 + 5e-6 * rows


ONE_BY_ONE_S = READ_S + WRITE_S + run_s(1)


@dataclass
class Host:
    """slow: (from, until, times) in which everything takes that much longer, since others have the CPU."""

    rows_max: int
    slow: tuple[float, float, float] = (0.0, 0.0, 1.0)
    now: float = 0.0
    sent: dict[Job, float] = field(default_factory=dict)
    """By its caller's clock. The host learns of a call when it has read it, and takes that for its begin."""
    good: list[float] = field(default_factory=list)
    """When those were sent that were answered in time."""
    wasted: int = 0
    """Runs for callers that had gone."""

    def __post_init__(self) -> None:
        sizes = (1, 2, 4, 8, 16)
        self.queue: Queue[Job] = Queue(
            Estimates([(16 * rows, run_s(rows)) for rows in sizes]), rows_max=self.rows_max, run_s_max=INLINE_MAX_S
        )

    def spend(self, seconds: float) -> None:
        since, until, times = self.slow
        self.now += seconds * (times if since <= self.now < until else 1.0)

    def serve(self, calls: deque[float]) -> None:
        """calls: when they were sent."""
        while calls or self.queue.backlog.jobs:
            if not self.queue.backlog.jobs:
                self.now = max(self.now, calls[0])
            refused = self.read(calls)
            late, ran = self.run()
            self.spend(WRITE_S * (refused + late + len(ran)))
            self.wasted += sum(call.deadline <= self.now for call in ran)
            self.good += [self.sent[call] for call in ran if self.now <= self.sent[call] + TIMEOUT_S]

    def read(self, calls: deque[float]) -> int:
        refused, came = 0, self.now
        while calls and calls[0] <= came:
            self.spend(READ_S)
            call = Job(1, 16, 64, (), self.now + TIMEOUT_S)
            self.sent[call] = calls.popleft()
            refused += self.queue.offer(call, self.now) is not None
        return refused

    def run(self) -> tuple[int, list[Job]]:
        """How many had waited for too long, and those that ran."""
        late, ran = 0, list[Job]()
        until = self.now + INLINE_MAX_S
        while self.now < until:
            late += len(self.queue.expire(self.now))
            batch = self.queue.take(self.now)
            if batch is None:
                break
            began = self.now
            self.spend(run_s(batch.rows))
            self.queue.finished(batch, self.now - began)
            ran += batch.jobs
        return late, ran


def served(host: Host, load: float) -> int:
    """load: calls in the time that one takes by itself. Returns how many there were."""
    steady = random.Random(1)
    calls: deque[float] = deque()
    sent = 0.0
    while sent < SECONDS:
        sent += steady.expovariate(load / ONE_BY_ONE_S)
        calls.append(sent)
    count = len(calls)
    host.serve(calls)
    return count


@pytest.mark.parametrize("load", [1.1, 1.2, 1.4])
def test_one_by_one_nearly_as_many_are_answered_in_time_as_can_be_beside_the_refusals(load: float) -> None:
    host = Host(rows_max=1)
    calls = served(host, load)
    refusals_s = calls * (READ_S + WRITE_S)
    possible = (SECONDS + TIMEOUT_S - refusals_s) / run_s(1)
    assert len(host.good) > 0.85 * possible
    assert host.wasted < 0.03 * len(host.good)


@pytest.mark.parametrize("load", [1.0, 1.2, 1.4])
def test_batches_answer_all_of_it(load: float) -> None:
    host = Host(rows_max=16)
    assert served(host, load) == len(host.good)
    assert host.wasted == 0


@pytest.mark.parametrize("load", [1.0, 1.2, 1.4])
@pytest.mark.parametrize("times", [1.5, 3.0])
def test_it_comes_back_from_a_time_when_others_had_the_cpu(load: float, times: float) -> None:
    host = Host(rows_max=8, slow=(0.2, 0.4, times))
    calls = served(host, load)
    assert sum(sent > 0.6 for sent in host.good) > 0.39 * calls  # the last two fifths, all of them
    assert host.wasted < 0.03 * len(host.good)
