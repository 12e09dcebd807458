"""From calls to answers: what goes together, who is told what, and when."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from inference_host.model.template import Arrays
from inference_host.serving.backlog import NEVER
from inference_host.serving.batching import Batch, Batching
from inference_host.serving.dataplane import DataPlane
from inference_host.serving.execution import Execution
from inference_host.serving.runs import Ask, Run, apart, together
from inference_host.serving.served import Served
from inference_host.values.calls import Answer, Call
from inference_host.values.signature import TensorSpec
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import Clock, Gate, Heard, Recorded, Waiting, call, double, run_virtual, served
from waypost.errors import DeadlineExceeded, Exhausted, Invalid, MeshError, Unavailable

Scenario = Callable[[DataPlane, Heard], Awaitable[None]]


@pytest.fixture(autouse=True)
def turns_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls would end a turn of the loop early; test_execution.py tests when one ends."""
    monkeypatch.setattr("inference_host.serving.execution.INLINE_MAX_S", NEVER)


def run(scenario: Scenario, model: Served, *, batching: Batching | None = None, threads: int = 1) -> None:
    async def main() -> None:
        async with Execution(threads) as execution:
            loop = asyncio.get_running_loop()
            await scenario(planes.plane(model, execution, loop.time, batching=batching or Batching()), Heard())

    asyncio.run(main())


def run_late(scenario: Scenario, model: Served, *, batching: Batching | None = None) -> None:
    """On virtual time."""

    async def main(execution: Execution) -> None:
        await scenario(planes.plane(model, execution, execution.loop.time, batching=batching or Batching()), Heard())

    run_virtual(main)


async def turns(count: int = 3) -> None:
    for _ in range(count + 1):  # runs come at a turn's end
        await asyncio.sleep(0)


# -- together


def test_what_arrives_in_one_turn_of_the_loop_goes_together() -> None:
    model = Recorded()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for name in "abc":
            plane.submit(call(value=ord(name)), heard.done(name))
        assert model.rows == []
        await turns(1)
        assert model.rows == [3]
        assert [heard.values(name) for name in "abc"] == [[[2.0 * ord(name)] * 2] for name in "abc"]
        plane.submit(call(), heard.done("d"))
        await turns(1)
        assert model.rows == [3, 1]

    run(scenario, served(model, rows_max=8))


def test_a_call_alone_waits_for_nobody() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(value=3.0), heard.done("a"))
        await turns(1)
        assert heard.values("a") == [[6.0, 6.0]]

    run(scenario, served(rows_max=8))


def test_what_queued_while_the_model_ran_goes_together() -> None:
    gate, rows = Gate(), list[int]()

    def predict(inputs: Arrays) -> Arrays:
        rows.append(len(inputs["x"]))
        return gate(inputs)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(plane.infer(call()))
            await asyncio.to_thread(gate.entered.acquire)
            others = [tasks.create_task(plane.infer(call(rows=2))) for _ in range(4)]
            await turns()
            assert plane.waiting == 4
            gate.open.set()
            await asyncio.gather(first, *others)
        assert rows == [1, 8]

    run(scenario, served(predict, inline=False, rows_max=8))


def test_calls_go_alone_where_it_was_not_found_to_pay() -> None:
    model = Recorded()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for name in "abc":
            plane.submit(call(), heard.done(name))
        await turns(1)
        assert model.rows == [1, 1, 1]

    run(scenario, served(model))


@pytest.mark.parametrize(("rows_max", "expected"), [(0, [4]), (1, [1] * 4), (2, [2, 2])])
def test_an_operator_has_the_last_word_about_rows(rows_max: int, expected: list[int]) -> None:
    model = Recorded()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for name in "abcd":
            plane.submit(call(), heard.done(name))
        await turns(1)
        assert model.rows == expected

    run(scenario, served(model, rows_max=8), batching=Batching(rows_max=rows_max))


def test_a_fixed_delay_keeps_a_batch_open() -> None:
    model = Recorded()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(), heard.done("a"))
        await asyncio.sleep(0.004)
        plane.submit(call(), heard.done("b"))
        await asyncio.sleep(0.0005)
        assert model.rows == []
        await asyncio.sleep(0.001)
        assert model.rows == [2]
        assert plane.in_flight == 0

    run_late(scenario, served(model, rows_max=8), batching=Batching(delay_s=0.005))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 1 << 32))
def test_split_answers_are_those_that_each_call_would_have_had_alone(rows: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    asks = [_ask({"x": rng.random((count, 3)), "i": rng.integers(0, 9, (count,))}) for count in rows]

    def model(inputs: Arrays) -> Arrays:
        return {"y": inputs["x"].sum(axis=1), "z": inputs["i"][:, None] * inputs["x"]}

    answers = apart(model(together(asks)), asks, sum(rows))
    for ask, given_ in zip(asks, answers, strict=True):
        alone = model(ask.inputs)
        assert all(np.array_equal(array, alone[name]) for name, array in zip("zy", given_, strict=True))


@dataclass
class Kind:
    rows: int
    wanted: tuple[TensorSpec, ...]
    size: int = 1
    group: Hashable = ()


def _ask(inputs: Arrays) -> Ask:
    wanted = tuple(TensorSpec(name, "FP32", ()) for name in ("zy" if "i" in inputs else "y"))
    kind = Kind(len(inputs["x"]), wanted)
    return Ask(kind, 0, NEVER, "", inputs, lambda outcome: None, 0.0)


# -- failures


def test_one_bad_call_does_not_hurt_the_others_of_its_batch() -> None:
    def predict(inputs: Arrays) -> Arrays:
        if (inputs["x"] < 0).any():
            raise Invalid("NEGATIVE", "no loads below zero")
        return double(inputs)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for name, value in (("a", 1.0), ("bad", -1.0), ("b", 2.0)):
            plane.submit(call(value=value), heard.done(name))
        await turns(1)
        assert heard.values("a") == [[2.0, 2.0]]
        assert heard.values("b") == [[4.0, 4.0]]
        assert heard.error("bad").reason == "NEGATIVE"

    model = Recorded(predict)
    run(scenario, served(model, rows_max=8))
    assert model.rows == [3, 1, 1, 1]


def test_who_went_away_is_not_run_again_when_its_batch_has_failed() -> None:
    model = Recorded()

    def fails_together(inputs: Arrays) -> object:
        if len(inputs["x"]) > 1:
            asks[1].told = True
            raise Invalid("TOGETHER", "not like this")
        return model(inputs)

    asks = [_ask({"x": np.ones((1, 2), np.float32)}) for _ in range(3)]
    warm = served(fails_together, rows_max=8).warm
    assert warm is not None
    run = Run(Batch(asks, 3, 6, 100.0, 0.0), warm.loaded, Clock(), 100.0)
    run.perform()
    assert model.rows == [1, 1]
    assert not run.clean
    assert [isinstance(answer, MeshError) for answer in run.answers] == [False, True, False]


def test_outputs_that_cannot_be_taken_apart_are_asked_for_one_by_one() -> None:
    def predict(inputs: Arrays) -> Arrays:
        return {"y": double(inputs)["y"][:1]}

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(value=1.0), heard.done("a"))
        plane.submit(call(value=2.0), heard.done("b"))
        await turns(1)
        assert (heard.values("a"), heard.values("b")) == ([[2.0, 2.0]], [[4.0, 4.0]])

    run(scenario, served(predict, rows_max=8))


@pytest.mark.parametrize("told", [2.0, 3.0, 4.0, 5.0])
def test_the_times_of_a_run_add_up_also_where_it_was_given_up_and_goes_on(told: float) -> None:
    """It was taken at 2, its inputs are together at 3; then, while the model runs, it is looked at."""
    clock, seen = Clock(), list[tuple[float, float, float]]()
    clock.now = 3.0

    def predict(inputs: Arrays) -> Arrays:
        seen.append(given_up.parts_s(told))
        clock.now = 4.0
        return double(inputs)

    batch = Batch([_ask({"x": np.zeros((1, 2), np.float32)})], rows=1, size=2, began=2.0, run_s=1.0)
    given_up = Run(batch, served(predict).warm.loaded, clock, 2.0)
    given_up.perform()
    for parts in (*seen, given_up.parts_s(told)):
        assert min(parts) >= 0
        assert sum(parts) == told - 2.0
    assert given_up.parts_s(4.5) == (1.0, 1.0, 0.5)


def test_no_memory_is_told_as_such() -> None:
    def predict(inputs: Arrays) -> Arrays:
        raise MemoryError

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(), heard.done("a"))
        await turns(1)
        assert isinstance(heard.error("a"), Exhausted)
        assert heard.error("a").reason == "OUT_OF_MEMORY"

    run(scenario, served(predict))


def test_a_face_that_fails_costs_the_others_nothing() -> None:
    def broken(outcome: object) -> None:
        raise ValueError("cannot encode this")

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(), broken)
        plane.submit(call(), heard.done("a"))
        with capture_logs() as logs:
            await turns(1)
        assert heard.values("a")
        assert [line["event"] for line in logs] == ["answer_lost"]
        assert plane.in_flight == 0

    run(scenario, served(rows_max=8))


# -- told once


def test_answers_of_a_batch_are_settled_once_and_after_all_were_told() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        told: list[int] = []
        plane.settled = lambda: told.append(sum(map(len, heard.outcomes.values())))
        for name in "abc":
            plane.submit(call(), heard.done(name))
        await turns()
        assert told == [3]

    run(scenario, served(rows_max=8))


def test_who_went_away_is_told_nothing_and_is_not_run() -> None:
    model = Recorded()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        withdraw = plane.submit(call(), heard.done("gone"))
        plane.submit(call(), heard.done("a"))
        withdraw()
        withdraw()
        await turns(1)
        assert heard.outcomes["gone"] == []
        assert heard.values("a")
        assert model.rows == [1]
        assert plane.in_flight == 0
        assert plane.take_counts().wasted_runs == 0

    run(scenario, served(model, rows_max=8))


def test_a_withdrawal_after_the_answer_changes_nothing() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        withdraw = plane.submit(call(), heard.done("a"))
        await turns(1)
        withdraw()
        assert heard.values("a")
        assert plane.take_counts().requests == 1

    run(scenario, served())


def test_whose_run_has_begun_is_not_told_after_going_away() -> None:
    gate = Gate()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        withdraw = plane.submit(call(), heard.done("gone"))
        await asyncio.to_thread(gate.entered.acquire)
        withdraw()
        assert plane.in_flight == 0
        gate.open.set()
        plane.submit(call(), heard.done("a"))
        while not heard.outcomes["a"]:
            await asyncio.to_thread(gate.entered.acquire)
            await turns()
        assert heard.outcomes["gone"] == []
        assert [plane.take_counts().wasted_runs for _ in range(2)] == [1, 0]

    run(scenario, served(gate, inline=False))


# -- deadlines


def test_what_expires_before_its_turn_is_told_so_and_not_run() -> None:
    model = Recorded()
    clock = Clock()

    async def main() -> None:
        async with Execution(1) as execution:
            plane, heard = planes.plane(served(model, rows_max=8), execution, clock), Heard()
            plane.submit(call(deadline=clock.now + 1), heard.done("late"))
            plane.submit(call(), heard.done("a"))
            clock.now += 1
            await turns(1)
            assert isinstance(heard.error("late"), DeadlineExceeded)
            assert heard.values("a")
            assert model.rows == [1]

    asyncio.run(main())


def test_what_is_found_late_when_somebody_else_is_submitted_is_settled_too() -> None:
    clock = Clock()

    async def main() -> None:
        async with Execution(1) as execution:
            model = served(rows_max=8, inline=False)
            plane = planes.plane(model, execution, clock, batching=Batching(delay_s=100.0))
            heard, settled = Heard(), asyncio.Event()
            plane.settled = settled.set
            plane.submit(call(deadline=clock.now + 50), heard.done("late"))
            clock.now += 50
            plane.submit(call(), heard.done("a"))
            assert isinstance(heard.error("late"), DeadlineExceeded)
            await settled.wait()

    asyncio.run(main())


def test_who_is_late_in_a_run_hears_it_at_once() -> None:
    model = Waiting()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        settled = [0]
        plane.settled = lambda: settled.__setitem__(0, settled[0] + 1)
        plane.submit(call(deadline=2.0), heard.done("late"))
        plane.submit(call(deadline=3.0), heard.done("later"))
        plane.submit(call(), heard.done("patient"))
        await asyncio.sleep(1.9)
        assert heard.outcomes["late"] == []
        await asyncio.sleep(0.2)
        assert isinstance(heard.error("late"), DeadlineExceeded)
        assert settled[0] > 0
        assert heard.outcomes["later"] == []
        await asyncio.sleep(1.0)
        assert isinstance(heard.error("later"), DeadlineExceeded)
        assert model.cancelled == 2
        model.open.set()
        await turns()
        assert heard.values("patient")
        assert plane.take_counts().deadline_misses == 2

    run_late(scenario, served(model, inline=False))


def test_an_answer_that_comes_too_late_was_made_for_nobody() -> None:
    clock = Clock()

    def predict(inputs: Arrays) -> Arrays:
        clock.now += 2
        return double(inputs)

    async def main() -> None:
        async with Execution(1) as execution:
            plane, heard = planes.plane(served(predict, rows_max=8), execution, clock), Heard()
            plane.submit(call(deadline=clock.now + 1), heard.done("late"))
            plane.submit(call(deadline=clock.now + 9), heard.done("a"))
            await turns(1)
            counts = plane.take_counts()
            assert (counts.deadline_misses, counts.wasted_runs) == (1, 1)

    asyncio.run(main())


def test_a_coroutine_is_cancelled_when_its_caller_goes() -> None:
    model = Waiting()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        withdraw = plane.submit(call(), heard.done("gone"))
        await turns()
        withdraw()
        await turns()
        assert (model.calls, model.cancelled) == (1, 1)
        assert heard.outcomes["gone"] == []

    run_late(scenario, served(model, inline=False))


def test_calls_that_the_host_ends_before_they_are_answered_hear_so() -> None:
    heard = Heard()

    async def scenario(execution: Execution) -> None:
        plane = planes.plane(served(Waiting(), inline=False), execution, execution.loop.time)
        plane.submit(call(), heard.done("cut"))
        await turns()

    run_virtual(scenario)
    assert heard.error("cut").reason == "STOPPED"


def test_what_waits_for_a_thread_is_told_when_it_is_late() -> None:
    gate = Gate()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        plane.submit(call(), heard.done("a"))
        await asyncio.to_thread(gate.entered.acquire)
        with pytest.raises(DeadlineExceeded):
            await plane.infer(call(deadline=loop.time() + 0.01))
        gate.open.set()
        assert (await plane.infer(call())).outputs
        assert gate.calls == 2

    run(scenario, served(gate, inline=False))


# -- refusals


def test_a_full_queue_refuses_at_once_with_the_time_to_wait() -> None:
    gate = Gate()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        plane.submit(call(), heard.done("runs"))
        await asyncio.to_thread(gate.entered.acquire)
        plane.submit(call(rows=7), heard.done("waits"))
        plane.submit(call(rows=4), heard.done("refused"))
        error = heard.error("refused")
        assert isinstance(error, Unavailable)
        assert error.reason == "QUEUE_FULL"
        assert int(error.metadata["retry_after_ms"]) > 0
        gate.open.set()
        assert (await plane.infer(call())).outputs

    run(scenario, served(gate, inline=False), batching=Batching(queue_rows_max=10))


def test_what_cannot_be_in_time_is_refused_at_once() -> None:
    gate = Gate()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        plane.submit(call(), heard.done("runs"))
        await asyncio.to_thread(gate.entered.acquire)
        plane.submit(call(deadline=loop.time() + 30.0), heard.done("refused"))
        assert heard.error("refused").reason == "OVERLOADED"
        assert plane.take_counts().deadline_misses == 1
        gate.open.set()

    run(scenario, served(gate, inline=False, run_s=20.0))


# -- what answers tell


def test_an_answer_tells_where_its_time_went() -> None:
    clock = Clock()

    def predict(inputs: Arrays) -> Arrays:
        clock.now += 0.25
        return double(inputs)

    async def main() -> None:
        async with Execution(1) as execution:
            plane, heard = planes.plane(served(predict, rows_max=8), execution, clock), Heard()
            tensors = [planes.x()]
            plane.submit(Call("forecast", "", tensors, arrived=clock.now - 1.0), heard.done("a"))
            clock.now += 0.5
            await turns(1)
            (answer,) = heard.outcomes["a"]
            assert isinstance(answer, Answer)
            assert answer.timing == (0.5, 0.0, 0.25, 1.75)
            assert answer.origin.facts == plane.facts("forecast", "")

    asyncio.run(main())


def test_time_is_counted_while_it_is_spent() -> None:
    clock, gate = Clock(), Gate()

    async def main() -> None:
        async with Execution(2) as execution:
            plane, heard = planes.plane(served(gate, inline=False), execution, clock), Heard()
            withdraw = [plane.submit(call(), heard.done(name)) for name in "abc"]
            await asyncio.to_thread(gate.entered.acquire)
            await asyncio.to_thread(gate.entered.acquire)
            clock.now += 2.0
            assert plane.take_counts().spent == (6.0, 2.0, 2.0)
            clock.now += 1.0
            withdraw[2]()
            assert plane.take_counts().spent == (3.0, 1.0, 1.0)
            clock.now += 1.0
            gate.open.set()
            await plane.infer(call())
            assert plane.take_counts().spent == (2.0, 0.0, 1.0)

    asyncio.run(main())


def test_calls_that_expire_have_waited() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        plane.submit(call(), heard.done("runs"))
        plane.submit(call(deadline=loop.time() + 3.0), heard.done("late"))
        await asyncio.sleep(4.0)
        assert heard.error("late").reason == "TOO_LATE"
        assert plane.take_counts().spent.waiting_s == pytest.approx(3.0)

    model = Waiting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference_host.serving.execution.InTasks.slots", 1)
        run_late(scenario, served(model, inline=False))


def test_statistics_count_calls_rows_and_runs() -> None:
    clock = Clock()

    def predict(inputs: Arrays) -> Arrays:
        clock.now += 0.25
        return double(inputs)

    async def main() -> None:
        async with Execution(1) as execution:
            plane, heard = planes.plane(served(predict, rows_max=8), execution, clock), Heard()
            for name, rows in (("a", 1), ("b", 2)):
                plane.submit(call(rows=rows), heard.done(name))
            clock.now += 0.5
            await turns(1)
            plane.submit(call("forecast", "8"), heard.done("unknown"))
            (statistics,) = plane.statistics("forecast")
            assert (statistics.inference_count, statistics.execution_count) == (3, 1)
            assert (statistics.success.count, statistics.success.ns) == (2, 1_500_000_000)
            assert (statistics.queue.count, statistics.queue.ns) == (2, 1_000_000_000)
            assert (statistics.compute_infer.count, statistics.compute_infer.ns) == (2, 500_000_000)
            assert statistics.batches.keys() == {3}
            assert statistics.batches[3].compute_infer.ns == 250_000_000
            assert statistics.latency.total == 2
            assert statistics.last_inference_ms > 0
            assert plane.take_counts().requests == 3

    asyncio.run(main())
