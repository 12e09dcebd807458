"""Models of a host by hand, loaded anew and unloaded while others are called."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from inference_host.model.manifest import find
from inference_host.model.template import Arrays
from inference_host.serving.dataplane import DataPlane, Place
from inference_host.serving.execution import Execution
from inference_host.serving.served import Served
from inference_host.values.calls import Call
from inference_host.values.tensors import Tensor
from tests import models
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import Gate, Heard, call, served
from waypost.errors import NotFound, Precondition, Unavailable, Unsupported

Scenario = Callable[[DataPlane], Awaitable[None]]


def run(directory: Path, scenario: Scenario) -> None:
    async def main() -> None:
        async with Execution(1) as execution:
            plane = DataPlane(
                [Served(package) for package in find(directory)],
                Place(),
                execution,
                asyncio.get_running_loop().time,
                packages=lambda: find(directory),
            )
            for each in plane.served:
                assert await plane.bring_up(each) is None
            await scenario(plane)

    asyncio.run(main())


async def value(plane: DataPlane, model: str) -> float:
    answer = await plane.infer(Call(model, "", [Tensor("x", "FP32", np.ones((1, 4), np.float32))]))
    return float(answer.outputs[0].array[0, 0])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Models a (3 of 1) and b (5 of 1)."""
    models.affine(tmp_path / "a.onnx")
    models.affine(tmp_path / "b.onnx", scale=4.0)
    return tmp_path


def test_a_model_that_is_loaded_again_answers_as_its_file_says_now(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        before = plane.facts("a", "")
        models.affine(directory / "a.onnx", scale=10.0)
        assert await value(plane, "a") == 3.0
        await plane.load("a")
        assert (await value(plane, "a"), await value(plane, "b")) == (11.0, 5.0)
        assert plane.facts("a", "") != before
        assert plane.ready()
        assert len(plane.served) == 2

    run(directory, scenario)


def test_a_file_that_was_not_there_at_start_can_be_loaded(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        models.affine(directory / "c.onnx", scale=6.0)
        await plane.load("c")
        assert await value(plane, "c") == 7.0
        assert [entry.name for entry in plane.index(ready_only=True)] == ["a", "b", "c"]

    run(directory, scenario)


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        models.corrupt(directory / "a.onnx")
        with pytest.raises(Precondition) as refused:
            await plane.load("a")
        assert refused.value.reason == "CORRUPT_MODEL"
        assert await value(plane, "a") == 3.0
        assert plane.ready()

    run(directory, scenario)


def test_an_unloaded_model_is_unavailable_and_the_others_serve(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        await plane.unload("a")
        await plane.unload("a")
        with pytest.raises(Unavailable) as refused:
            await value(plane, "a")
        assert refused.value.reason == "MODEL_UNLOADED"
        assert await value(plane, "b") == 5.0
        assert plane.ready()
        assert not plane.model_ready("a", "")
        assert [(entry.name, entry.state, entry.reason) for entry in plane.index(ready_only=False)] == [
            ("a", "UNAVAILABLE", "unloaded"),
            ("b", "READY", ""),
        ]
        await plane.load("a")
        assert await value(plane, "a") == 3.0

    run(directory, scenario)


def test_names_that_the_directory_does_not_hold_are_not_found(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        for change in (plane.load, plane.unload):
            with pytest.raises(NotFound):
                await change("z")

    run(directory, scenario)


def test_states_are_told_to_who_follows_them(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        told: list[list[str]] = []
        plane.changed = lambda: told.append([each.life.state.value for each in plane.served])
        await plane.unload("a")
        assert told == [["UNLOADED", "READY"]]

    run(directory, scenario)


def test_a_host_that_stops_takes_no_new_version_in(directory: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        plane.drain()
        with pytest.raises(Unavailable):
            await plane.load("a")
        assert not plane.ready()

    run(directory, scenario)


def test_unloading_waits_for_the_calls_inside() -> None:
    gate = Gate()

    async def main() -> None:
        async with Execution(1) as execution:
            loop = asyncio.get_running_loop()
            plane = planes.plane(served(gate, inline=False), execution, loop.time, planes.BY_HAND)
            heard = Heard()
            plane.submit(call(), heard.done("runs"))
            plane.submit(call(), heard.done("waits"))
            await asyncio.to_thread(gate.entered.acquire)
            async with asyncio.TaskGroup() as tasks:
                unloading = tasks.create_task(plane.unload("forecast"))
                await asyncio.sleep(0)
                with pytest.raises(Unavailable):
                    await plane.infer(call())
                assert not unloading.done()
                gate.open.set()
            assert heard.values("runs") == heard.values("waits")
            assert plane.take_counts().requests == 3

    asyncio.run(main())


def test_a_host_without_a_directory_loads_nothing() -> None:
    async def main() -> None:
        async with Execution(1) as execution:
            loop = asyncio.get_running_loop()
            plane = planes.plane(served(), execution, loop.time, planes.BY_HAND)
            with pytest.raises(Unsupported):
                await plane.load("forecast")

    asyncio.run(main())


def test_two_models_do_not_starve_each_other() -> None:
    """Each has more to do than the one thread can: while both wait they take turns."""
    turns: list[str] = []

    def noting(name: str) -> Callable[[Arrays], object]:
        def predict(inputs: Arrays) -> object:
            turns.append(name)
            return planes.double(inputs)

        return predict

    async def main() -> None:
        async with Execution(1) as execution:
            loop = asyncio.get_running_loop()
            both = [served(noting(name), inline=False, name=name) for name in "ab"]
            plane = planes.plane(both, execution, loop.time, planes.BY_HAND)
            await asyncio.gather(*(plane.infer(call(name)) for name in "aaaabbbb"))

    asyncio.run(main())
    assert turns == ["a", *["a", "b"] * 3, "b"]
