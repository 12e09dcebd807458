"""Models that keep state, from calls to answers."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from inference_host.model.template import Arrays
from inference_host.serving.dataplane import DataPlane
from inference_host.serving.execution import Execution
from inference_host.serving.served import Served
from inference_host.values.calls import Answer, Call, SequenceLimits
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import Heard, run_virtual, served
from waypost.errors import DeadlineExceeded, Internal, Invalid, MeshError, Unavailable, Unsupported

Scenario = Callable[[DataPlane, Heard], Awaitable[None]]


def totals() -> list[float]:
    """`start_sequence` of a model that adds up what it is sent."""
    return [0.0]


def add(inputs: Arrays, total: list[float]) -> Arrays:
    total[0] += float(inputs["x"][0, 0])
    return {"y": np.full_like(inputs["x"], total[0])}


def step(
    value: float = 1.0,
    id_: int | str = 7,
    *,
    start: bool = False,
    end: bool = False,
    owner: tuple[str, ...] = (),
    deadline: float | None = None,
) -> Call:
    call = planes.call(value=value, deadline=deadline)
    call.parameters = {"sequence_id": id_, "sequence_start": start, "sequence_end": end}
    call.owner = owner
    return call


async def total(plane: DataPlane, call: Call) -> float:
    answer: Answer = await plane.infer(call)
    return float(answer.outputs[0].array[0, 0])


def run(scenario: Scenario, model: Served, *, threads: int = 2) -> None:
    async def main() -> None:
        async with Execution(threads) as execution:
            clock = asyncio.get_running_loop().time
            await scenario(planes.plane(model, execution, clock), Heard())

    asyncio.run(main())


def run_later(scenario: Scenario, model: Served) -> None:
    """On virtual time, for models that are coroutines."""

    async def main(execution: Execution) -> None:
        await scenario(planes.plane(model, execution, execution.loop.time), Heard())

    run_virtual(main)


class Held:
    """Adds up like `add`, when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.order: list[float] = []

    def __call__(self, inputs: Arrays, total: list[float]) -> Arrays:
        self.order.append(float(inputs["x"][0, 0]))
        self.entered.release()
        assert self.let.acquire(timeout=10)
        return add(inputs, total)


async def heard_of(heard: Heard, *names: str) -> None:
    while not all(heard.outcomes[name] for name in names):  # noqa: ASYNC110  there is no event for it
        await asyncio.sleep(0.001)


# -- what a step meets


def test_each_sequence_has_a_state_of_its_own() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        assert await total(plane, step(1.0, 1, start=True)) == 1.0
        assert await total(plane, step(10.0, 2, start=True)) == 10.0
        assert await total(plane, step(100.0, "1", start=True)) == 100.0
        assert await total(plane, step(2.0, 1)) == 3.0
        assert await total(plane, step(20.0, 2)) == 30.0
        assert await total(plane, step(5.0, 1, start=True)) == 5.0, "a start begins anew"
        assert await total(plane, step(1.0, 1, end=True)) == 6.0
        with pytest.raises(Invalid) as unknown:
            await plane.infer(step(1.0, 1))
        assert unknown.value.reason == "UNKNOWN_SEQUENCE"

    run(scenario, served(add, start=totals))


def test_two_callers_never_meet() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        assert await total(plane, step(1.0, start=True, owner=("c/1", "ann"))) == 1.0
        with pytest.raises(Invalid):
            await plane.infer(step(1.0, owner=("c/1", "bob")))
        assert await total(plane, step(10.0, start=True, owner=("c/1", "bob"))) == 10.0
        assert await total(plane, step(1.0, owner=("c/1", "ann"))) == 2.0

    run(scenario, served(add, start=totals))


@pytest.mark.parametrize("id_", [0, "", None])
def test_a_call_of_no_sequence_is_one_of_its_own(id_: int | str | None) -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for _ in range(2):
            call = planes.call(value=3.0, parameters={} if id_ is None else {"sequence_id": id_})
            assert await total(plane, call) == 3.0

    run(scenario, served(add, start=totals))


@pytest.mark.parametrize(
    "parameters",
    [
        {"sequence_start": True},
        {"sequence_id": 0, "sequence_end": True},
        {"sequence_id": 1.5, "sequence_start": True},
        {"sequence_id": True},
        {"sequence_id": "x" * 129},
        {"sequence_id": 7, "sequence_start": 1},
        {"sequence_id": 7, "sequence_end": "yes"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, object]) -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        with pytest.raises(Invalid) as refused:
            await plane.infer(planes.call(parameters=parameters))
        assert refused.value.reason == "BAD_PARAMETER"

    run(scenario, served(add, start=totals))


def test_a_model_that_keeps_nothing_refuses_what_says_something() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        with pytest.raises(Unsupported):
            await plane.infer(step(start=True))
        said_nothing = planes.call(parameters={"sequence_id": 0, "sequence_start": False, "sequence_end": False})
        assert await total(plane, said_nothing) == 2.0

    run(scenario, served())


def test_coroutines_keep_state_too() -> None:
    async def start() -> list[float]:
        return totals()

    async def predict(inputs: Arrays, total: list[float]) -> Arrays:
        await asyncio.sleep(1.0)
        return add(inputs, total)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        async with asyncio.TaskGroup() as tasks:
            steps = [tasks.create_task(total(plane, step(float(n), start=n == 1))) for n in (1, 2, 3)]
            other = tasks.create_task(total(plane, step(50.0, 8, start=True)))
        assert [each.result() for each in steps] == [1.0, 3.0, 6.0]
        assert other.result() == 50.0
        assert asyncio.get_running_loop().time() < 4.0, "another sequence does not wait for it"

    run_later(scenario, served(predict, start=start))


# -- whose turn it is


def test_steps_keep_their_order_and_an_urgent_one_brings_those_before_it_forward() -> None:
    model = Held()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        now = asyncio.get_running_loop().time()
        for name, call in {
            "a": step(1.0, 1, start=True),
            "b": step(2.0, 2, start=True),
            "c": step(3.0, 3, start=True),
            "d": step(4.0, 3, deadline=now + 9),
        }.items():
            plane.submit(call, heard.done(name))
        model.let.release(4)
        await heard_of(heard, *"abcd")
        assert model.order[:2] == [1.0, 3.0]
        assert heard.values("d") == [[7.0, 7.0]]

    run(scenario, served(model, start=totals), threads=1)


def test_steps_of_one_sequence_never_run_at_the_same_time_and_others_do() -> None:
    model = Held()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for name, id_ in (("a", 1), ("b", 1), ("c", 2)):
            plane.submit(step(1.0, id_, start=name != "b"), heard.done(name))
        for _ in range(2):
            await asyncio.to_thread(model.entered.acquire)
        assert plane.waiting == 1
        model.let.release(3)
        await heard_of(heard, *"abc")
        assert heard.values("b") == [[2.0, 2.0]]

    run(scenario, served(model, start=totals), threads=4)


# -- what does not go well


def failing(error: BaseException) -> Callable[[Arrays, list[float]], Arrays]:
    def predict(inputs: Arrays, total: list[float]) -> Arrays:
        if inputs["x"][0, 0] < 0:
            total[0] = 1e6
            raise error
        return add(inputs, total)

    return predict


@pytest.mark.parametrize("error", [ValueError("broken"), Internal("OWN", "broken"), MemoryError(), SystemExit(1)])
def test_a_step_that_failed_ends_its_sequence(error: BaseException) -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        await plane.infer(step(1.0, start=True))
        plane.submit(step(-1.0), heard.done("failed"))
        plane.submit(step(1.0), heard.done("behind"))
        plane.submit(step(5.0, start=True), heard.done("anew"))
        await heard_of(heard, "anew")
        assert not isinstance(heard.error("failed"), Invalid)
        assert heard.error("behind").reason == "UNKNOWN_SEQUENCE"
        assert heard.values("anew") == [[5.0, 5.0]]

    run(scenario, served(failing(error), start=totals))


def test_a_step_that_was_refused_leaves_its_sequence_unless_it_begins_it() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        await plane.infer(step(1.0, start=True))
        with pytest.raises(Invalid):
            await plane.infer(step(-1.0))
        assert await total(plane, step(1.0)) == 1e6 + 1, "what it changed before it refused stays changed"
        with pytest.raises(Invalid):
            await plane.infer(step(-1.0, start=True))
        with pytest.raises(Invalid) as unknown:
            await plane.infer(step(1.0))
        assert unknown.value.reason == "UNKNOWN_SEQUENCE"

    run(scenario, served(failing(Invalid("NEGATIVE", "no")), start=totals))


def test_a_wrong_input_changes_nothing() -> None:
    async def scenario(plane: DataPlane, heard: Heard) -> None:
        await plane.infer(step(1.0, start=True))
        wrong = step(1.0, start=True)
        wrong.inputs = []
        with pytest.raises(Invalid):
            await plane.infer(wrong)
        assert await total(plane, step(1.0)) == 2.0

    run(scenario, served(add, start=totals))


def test_a_step_that_runs_counts_also_where_nobody_waits_for_it() -> None:
    model = Held()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        withdraw = plane.submit(step(1.0, start=True), heard.done("a"))
        await asyncio.to_thread(model.entered.acquire)
        withdraw()
        model.let.release(2)
        assert await total(plane, step(1.0)) == 2.0

    run(scenario, served(model, start=totals))


def test_a_coroutine_that_runs_counts_too() -> None:
    let = asyncio.Event()

    async def start() -> list[float]:
        return totals()

    async def predict(inputs: Arrays, total: list[float]) -> Arrays:
        await let.wait()
        return add(inputs, total)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        now = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded):
            await plane.infer(step(1.0, start=True, deadline=now + 0.5))
        let.set()
        assert await total(plane, step(1.0)) == 2.0

    run_later(scenario, served(predict, start=start))


def test_a_coroutine_that_hangs_is_given_up_and_its_sequence_with_it() -> None:
    begun: list[list[float]] = []

    async def start() -> list[float]:
        begun.append(totals())
        return begun[-1]

    async def predict(inputs: Arrays, total: list[float]) -> Arrays:
        if inputs["x"][0, 0] < 0:
            await asyncio.Event().wait()
        return add(inputs, total)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        now = asyncio.get_running_loop().time()
        plane.submit(step(-1.0, start=True, deadline=now + 0.5), heard.done("hangs"))
        plane.submit(step(1.0), heard.done("behind"))
        plane.submit(step(5.0, start=True), heard.done("anew"))
        await heard_of(heard, "anew")
        assert isinstance(heard.error("hangs"), DeadlineExceeded)
        assert heard.error("behind").reason == "UNKNOWN_SEQUENCE"
        assert heard.values("anew") == [[5.0, 5.0]]
        assert len(begun) == 2

    run_later(scenario, served(predict, start=start))


def test_steps_that_expire_while_they_wait_never_run() -> None:
    model = Held()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        now = asyncio.get_running_loop().time()
        plane.submit(step(1.0, start=True), heard.done("a"))
        await asyncio.to_thread(model.entered.acquire)
        plane.submit(step(10.0, deadline=now + 0.05), heard.done("late"))
        plane.submit(step(2.0), heard.done("b"))
        await heard_of(heard, "late")
        model.let.release(2)
        await heard_of(heard, *"ab")
        assert isinstance(heard.error("late"), DeadlineExceeded)
        assert heard.values("b") == [[3.0, 3.0]]

    run(scenario, served(model, start=totals))


# -- bounds


def test_sequences_are_forgotten_when_they_are_idle() -> None:
    async def start() -> list[float]:
        return totals()

    async def predict(inputs: Arrays, total: list[float]) -> Arrays:
        return add(inputs, total)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        await plane.infer(step(1.0, start=True))
        await asyncio.sleep(9.0)
        assert await total(plane, step(1.0)) == 2.0
        with pytest.raises(Unavailable) as full:
            await plane.infer(step(1.0, 8, start=True))
        assert full.value.reason == "TOO_MANY_SEQUENCES"
        await asyncio.sleep(11.0)
        queue: Any = plane.served[0].lanes.all[0]._queue  # type: ignore[union-attr]
        assert len(queue.sequences) == 0, "its memory is free though nobody called"
        assert await total(plane, step(1.0, 8, start=True)) == 1.0

    run_later(scenario, served(predict, start=start, limits=SequenceLimits(1, 10.0)))


def test_the_queues_limits_hold_for_steps() -> None:
    model = Held()

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        outcomes: list[Answer | MeshError] = []
        plane.submit(step(1.0, start=True), outcomes.append)
        await asyncio.to_thread(model.entered.acquire)
        for _ in range(2000):
            plane.submit(step(1.0), outcomes.append)
        assert {getattr(outcome, "reason", "") for outcome in outcomes} == {"QUEUE_FULL"}
        model.let.release(2001)
        while plane.in_flight:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.001)

    run(scenario, served(model, start=totals))
