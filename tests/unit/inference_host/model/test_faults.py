"""Templates that crash, hang, block and answer nonsense: it hurts one request, and the log says where it was."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from inference_host.model.loaded import Loaded
from inference_host.model.template import Arrays, Steps
from inference_host.serving import execution as executions
from inference_host.serving import watchdog
from inference_host.serving.dataplane import DataPlane
from inference_host.serving.execution import HUNG_MAX, Execution
from inference_host.serving.served import Served
from inference_host.values.calls import Answer
from inference_host.values.signature import Signature, TensorSpec
from tests.sim.virtual import StillLoop
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import Gate, Heard, call, double, served, unchanged, unchanged_later
from waypost.errors import DeadlineExceeded, Exhausted, Internal, MeshError


class Own(BaseException):
    """Of somebody who wants to be let out of everywhere."""


def forever(depth: int) -> int:
    return forever(depth + 1) + 1


ERRORS: list[BaseException | None] = [
    ValueError("broken"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(),
    StopAsyncIteration(),
    asyncio.CancelledError(),
    MemoryError(),
    Own(),
    None,  # RecursionError, a real one
]


def crash(error: BaseException | None) -> Callable[[Any], Any]:
    def step(value: Any) -> Any:
        if float(np.ravel(value["x"] if "x" in value else value["y"])[0]) < 0:
            if error is None:
                forever(0)
            else:
                raise error.with_traceback(None)
        return value

    return step


def later(step: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def coroutine(value: Any) -> Any:
        await asyncio.sleep(0)
        return step(value)

    return coroutine


def raised(logged: BaseException) -> BaseException:
    """What the step raised: Python turns a StopIteration in a coroutine into a RuntimeError, with that as its cause."""
    return logged if logged.__traceback__ or logged.__cause__ is None else logged.__cause__


async def double_later(inputs: Arrays) -> Arrays:
    return double(inputs)


def run(model: Served, scenario: Callable[[DataPlane, Heard], Awaitable[None]], *, threads: int = 1) -> None:
    async def main() -> None:
        async with Execution(threads) as execution:
            clock = asyncio.get_running_loop().time
            plane = planes.plane(model, execution, clock)
            plane.changed = lambda: None
            await scenario(plane, Heard())

    asyncio.run(main())


def with_steps(steps: Steps) -> Served:
    made = served(inline=False)
    assert made.warm is not None
    loaded = made.warm.loaded
    changed = Loaded(loaded.package, loaded.signature, steps)
    made.warm = type(made.warm)(changed, 0.0, made.warm.samples, 0)
    return made


# -- crashes


@pytest.mark.parametrize("where", ["preprocess", "predict", "postprocess", "aside", "coroutine"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_step_raises_hurts_its_request_only(where: str, error: BaseException | None) -> None:
    step = crash(error)
    steps = {
        "preprocess": Steps(step, double, unchanged),
        "predict": Steps(unchanged, lambda value: double(step(value)), unchanged),
        "postprocess": Steps(unchanged, double, step),
        "aside": Steps(step, double_later, unchanged_later),
        "coroutine": Steps(unchanged_later, double_later, later(step)),
    }[where]

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        for round_ in range(2):
            with capture_logs() as logs, pytest.raises(MeshError) as failed:
                await plane.infer(call(value=-1.0))
            assert isinstance(failed.value, Exhausted if isinstance(error, MemoryError) else Internal), round_
            assert failed.value.reason in ("MODEL_FAILED", "OUT_OF_MEMORY")
            (line,) = logs
            assert (line["event"], line["version"], line["request"]) == ("model_failed", "7", "id-1")
            assert line["model"] == planes.FULL_NAME
            first = next(traceback.walk_tb(raised(line["exc_info"]).__traceback__))[0]
            assert first.f_code.co_filename == __file__, "the traceback begins at the template's own frame"
            answer = await plane.infer(call(value=3.0))
            assert isinstance(answer, Answer)

    run(with_steps(steps), scenario)


def test_a_batch_that_fails_is_told_apart_in_the_log() -> None:
    def predict(inputs: Arrays) -> Arrays:
        if (inputs["x"] < 0).any():
            raise ValueError("broken")
        return double(inputs)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        with capture_logs() as logs:
            for name, value in (("good", 1.0), ("bad", -1.0)):
                asked = call(value=value)
                asked.id = name
                plane.submit(asked, heard.done(name))
            for _ in range(2):  # runs come at the end of a turn
                await asyncio.sleep(0)
        assert isinstance(heard.error("bad"), Internal)
        assert heard.values("good") == [[2.0, 2.0]]
        assert [line["request"] for line in logs] == [None, "bad"]

    run(served(predict, rows_max=8), scenario)


# -- hangs


def run_still(model: Served, scenario: Callable[[DataPlane, StillLoop], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Execution(1) as execution:
            plane = planes.plane(model, execution, loop.time)
            plane.changed = lambda: None
            await scenario(plane, loop)

    with asyncio.Runner(loop_factory=StillLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, StillLoop)
        runner.run(main())


async def hang(plane: DataPlane, loop: StillLoop, gate: Gate, *, deadline: bool) -> None:
    """A call that hangs, until its time is over and the thread is given up. Raises what the caller hears."""
    asked = asyncio.create_task(plane.infer(call(value=-1.0, deadline=loop.now + 1.0 if deadline else None)))
    assert await asyncio.to_thread(gate.entered.acquire, timeout=10)
    loop.now += 1.0
    try:
        await asked
    finally:
        loop.now += executions.LINGER_S


class Sometimes:
    """Hangs on negative values, until it is let go."""

    def __init__(self) -> None:
        self.gate = Gate()

    def __call__(self, inputs: Arrays) -> Arrays:
        return self.gate(inputs) if inputs["x"][0, 0] < 0 else double(inputs)


def test_a_call_that_hangs_holds_up_nobody_else() -> None:
    model = Sometimes()

    async def scenario(plane: DataPlane, loop: StillLoop) -> None:
        with capture_logs() as logs:
            with pytest.raises(DeadlineExceeded):
                await hang(plane, loop, model.gate, deadline=True)
            assert await plane.infer(call(value=1.0)), "though the only thread hangs"
        (line,) = [line for line in logs if line["event"] == "run_given_up"]
        assert (line["model"], line["version"], line["request"]) == (planes.FULL_NAME, "7", "id-1")
        assert "self.gate(inputs)" in line["stack"].splitlines()[1]
        assert plane.ready()
        model.gate.open.set()

    run_still(served(model, inline=False), scenario)


def test_a_host_with_too_many_hanging_calls_says_that_it_is_not_ready_until_they_end() -> None:
    model = Sometimes()

    async def scenario(plane: DataPlane, loop: StillLoop) -> None:
        changes: list[bool] = []
        plane.changed = lambda: changes.append(plane.ready())
        for _ in range(HUNG_MAX):
            assert plane.ready()
            with pytest.raises(DeadlineExceeded):
                await hang(plane, loop, model.gate, deadline=True)
            assert await plane.infer(call(value=1.0))
        assert not plane.ready()
        assert changes == [False]
        model.gate.open.set()
        while not plane.ready():  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)
        assert changes[-1]

    run_still(served(model, inline=False), scenario)


def test_a_caller_without_a_deadline_hears_that_the_model_hangs() -> None:
    model = Sometimes()

    async def scenario(plane: DataPlane, loop: StillLoop) -> None:
        with pytest.raises(Internal) as hung:
            await hang(plane, loop, model.gate, deadline=False)
        assert hung.value.reason == "MODEL_HUNG"
        assert await plane.infer(call(value=1.0))
        model.gate.open.set()

    run_still(served(model, inline=False, hung_after_s=1.0), scenario)


def test_a_plain_step_of_coroutines_that_hangs_gives_its_thread_back_too() -> None:
    gate = Gate()

    def preprocess(inputs: Arrays) -> Arrays:
        if inputs["x"][0, 0] < 0:
            gate(inputs)
        return inputs

    async def scenario(plane: DataPlane, loop: StillLoop) -> None:
        with pytest.raises(DeadlineExceeded):
            await hang(plane, loop, gate, deadline=True)
        assert await plane.infer(call(value=1.0))
        gate.open.set()

    run_still(with_steps(Steps(preprocess, double_later, unchanged)), scenario)


def test_a_coroutine_that_blocks_the_loop_is_told_with_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 0.01)
    monkeypatch.setattr(watchdog, "BLOCKED_S", 0.05)

    logs: list[Any] = []

    async def predict(inputs: Arrays) -> Arrays:
        until = time.monotonic() + 10
        while not logs and time.monotonic() < until:
            time.sleep(0.001)  # noqa: ASYNC251  what is not to be done
        return double(inputs)

    async def scenario(plane: DataPlane, heard: Heard) -> None:
        nonlocal logs
        watching = asyncio.create_task(watchdog.watch())
        await asyncio.sleep(0.02)
        with capture_logs() as logs:
            assert await plane.infer(call())
        (line,) = logs
        assert line["event"] == "event_loop_blocked"
        assert "time.sleep(0.001)" in line["stack"]
        watching.cancel()

    run(with_steps(Steps(unchanged_later, predict, unchanged_later)), scenario)


# -- nonsense


Y = TensorSpec("y", "FP32", (-1, 2))
TEXT = TensorSpec("y", "BYTES", (-1,))
Z = TensorSpec("z", "INT64", (1,))


async def _never() -> None: ...


@pytest.mark.parametrize(
    ("answer", "outputs", "words"),
    [
        (None, [Y], "NoneType instead of an array for 'y'"),
        ([[1.0, 2.0]], [Y], "list instead of an array for 'y'"),
        (np.float32(1.0), [Y], "float32 instead of an array"),
        (np.zeros((1, 2)), [Y], "float64 for output 'y', which is FP32"),
        (np.zeros((1, 2), ">f4"), [Y], ">f4 for output 'y'"),
        (np.zeros((1, 3), np.float32), [Y], "shape [1, 3] for output 'y', which is [-1, 2]"),
        (np.zeros(2, np.float32), [Y], "shape [2] for output 'y'"),
        (np.zeros((1, 2), np.float32), [Y, Z], "ndarray instead of a dict of 2 outputs"),
        ({}, [Y], "nothing for output 'y' (it gave none at all)"),
        ({"w": np.zeros((1, 2), np.float32)}, [Y], "nothing for output 'y' (it gave 'w')"),
        ({"y": np.zeros((1, 2), np.float32), "w": 3}, [Y], "'w', which the signature does not have"),
        ({"y": [[1.0, 2.0]]}, [Y], "list for output 'y'"),
        ({"y": np.zeros((1, 2), np.float32), "z": 7}, [Y, Z], "int for output 'z', which is INT64"),
        (np.array([b"a"]), [TEXT], "|S1 for output 'y', which is BYTES"),
        (np.array(["a"], object), [TEXT], "other things than bytes"),
        ((value for value in ()), [Y], "generator instead of"),
    ],
)
def test_a_wrong_answer_is_told_precisely(answer: Any, outputs: list[TensorSpec], words: str) -> None:
    with pytest.raises(Internal) as wrong:
        _loaded(lambda inputs: answer, outputs).answer({"x": np.zeros((1, 2), np.float32)})
    assert wrong.value.reason == "TEMPLATE_FAILED"
    assert words in str(wrong.value)
    assert wrong.value.hint


def test_a_coroutine_that_was_not_awaited_is_told_precisely() -> None:
    with pytest.raises(Internal) as wrong:
        _loaded(lambda inputs: _never(), [Y]).answer({"x": np.zeros((1, 2), np.float32)})
    assert "a coroutine" in wrong.value.message
    assert "async def" in wrong.value.hint


def _loaded(predict: Callable[[Arrays], Any], outputs: list[TensorSpec]) -> Loaded:
    warm = served().warm
    assert warm is not None
    signature = Signature(warm.loaded.signature.inputs, tuple(outputs))
    return Loaded(warm.loaded.package, signature, Steps(unchanged, predict, unchanged))
