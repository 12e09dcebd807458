"""What a host answers, and which error it answers with where it cannot."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from inference_host.serving.batching import QUEUE_CALLS_MAX
from inference_host.serving.dataplane import DataPlane
from inference_host.serving.execution import Execution
from inference_host.serving.lifecycle import Lifecycle
from inference_host.serving.served import Served
from inference_host.values.calls import Answer, Call
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import Clock, Gate, Heard, call, double, served
from waypost.errors import DeadlineExceeded, Denied, Invalid, MeshError, NotFound, Unavailable, Unsupported

Scenario = Callable[[DataPlane, Clock], Awaitable[None]]


def run(scenario: Scenario, model: Served | None = None, *, threads: int = 1) -> None:
    async def main() -> None:
        async with Execution(threads) as execution:
            clock = Clock()
            await scenario(planes.plane(model or served(), execution, clock), clock)

    asyncio.run(main())


def refusal(asked: Call, model: Served | None = None) -> MeshError:
    caught: list[MeshError] = []

    async def scenario(plane: DataPlane, clock: Clock) -> None:
        with pytest.raises(MeshError) as refused:
            await plane.infer(asked)
        caught.append(refused.value)

    run(scenario, model)
    return caught[0]


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("model", "version"), [("forecast", ""), ("forecast", "7"), ("tower-7", ""), ("tower-7", "7")])
def test_a_model_answers_to_both_its_names(model: str, version: str, inline: bool) -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        answer = await plane.infer(call(model, version, value=3.0))
        assert (answer.origin.model, answer.origin.version, answer.id) == ("forecast", "7", "id-1")
        assert answer.outputs[0].array.tolist() == [[6.0, 6.0]]

    run(scenario, served(inline=inline))


def test_who_answered_is_told_under_either_name() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        assert plane.facts("tower-7", "") == plane.facts("forecast", "7") == (
            ("waypost-model-version", planes.FULL_NAME),
            ("waypost-model-digest", "sha256:ff"),
            ("waypost-position-generation", "3"),
            ("waypost-replica", "r-abc123"),
        )  # fmt: skip

    run(scenario)


def test_who_answered_is_one_object_until_the_generation_changes() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        first, second = await plane.infer(call()), await plane.infer(call())
        assert first.origin.facts is second.origin.facts is plane.facts("tower-7", "")
        plane.place = replace(plane.place, generation=4)
        third = await plane.infer(call())
        assert ("waypost-position-generation", "4") in third.origin.facts
        assert third.origin.facts is plane.facts("forecast", "")

    run(scenario)


def test_unknown_names_are_not_found_and_the_known_ones_are_told() -> None:
    for unknown in (call("other"), call("forecast", "8"), call("")):
        refused = refusal(unknown)
        assert isinstance(refused, NotFound)
        assert refused.hint
    assert "forecast, tower-7" in refusal(call("other")).hint


@pytest.mark.parametrize(
    ("life", "reason"),
    [
        (Lifecycle(), "MODEL_NOT_READY"),
        (Lifecycle().warming(), "MODEL_NOT_READY"),
        (planes.READY.draining(), "DRAINING"),
        (Lifecycle().failed("CORRUPT_MODEL", "half a file"), "MODEL_FAILED"),
    ],
)
def test_a_model_that_does_not_serve_is_unavailable_and_was_not_run(life: Lifecycle, reason: str) -> None:
    model = Gate()
    refused = refusal(call(), served(model, life=life))
    assert isinstance(refused, Unavailable)
    assert refused.reason == reason
    assert model.calls == 0


def test_readiness_is_every_models() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        assert plane.ready()
        assert plane.model_ready("tower-7", "")
        plane.drain()
        assert not plane.ready()
        assert [(entry.name, entry.version, entry.state) for entry in plane.index(ready_only=False)] == [
            ("forecast", "7", "UNLOADING")
        ]
        assert plane.index(ready_only=True) == []

    run(scenario)


def test_tensors_that_do_not_fit_are_the_callers_mistake() -> None:
    for wrong in (Call("forecast", "", []), Call("forecast", "", [planes.x()], outputs=["logits"])):
        assert isinstance(refusal(wrong), Invalid)


def test_a_request_id_has_a_bound() -> None:
    assert refusal(Call("forecast", "", [planes.x()], "i" * 300)).reason == "BAD_ID"


@pytest.mark.parametrize("inline", [True, False])
def test_a_deadline_that_has_passed_is_refused_before_running(inline: bool) -> None:
    model = Gate()
    assert isinstance(refusal(call(deadline=100.0), served(model, inline=inline)), DeadlineExceeded)
    assert model.calls == 0


def test_a_deadline_that_passes_meanwhile_is_told_at_once_and_the_slot_stays_taken() -> None:
    model = Gate()

    async def scenario(plane: DataPlane, clock: Clock) -> None:
        with pytest.raises(DeadlineExceeded):
            await plane.infer(call(deadline=clock.now + 0.01))
        with pytest.raises(DeadlineExceeded):  # waits for the slot and never runs
            await plane.infer(call(deadline=clock.now + 0.01))
        model.open.set()
        assert (await plane.infer(call())).outputs
        assert model.calls == 2

    run(scenario, served(model, inline=False))


def test_a_cancelled_call_that_waits_never_runs() -> None:
    model = Gate()

    async def scenario(plane: DataPlane, clock: Clock) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(plane.infer(call()))
            await asyncio.to_thread(model.entered.acquire)
            second = tasks.create_task(plane.infer(call()))
            await asyncio.sleep(0)
            second.cancel()
            model.open.set()
            assert isinstance(await first, Answer)
        assert model.calls == 1

    run(scenario, served(model, inline=False))


def test_the_queue_is_counted_and_bounded() -> None:
    model = Gate()

    async def scenario(plane: DataPlane, clock: Clock) -> None:
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(plane.infer(call())) for _ in range(QUEUE_CALLS_MAX + 1)]
            await asyncio.to_thread(model.entered.acquire)
            assert (plane.waiting, plane.in_flight) == (QUEUE_CALLS_MAX, QUEUE_CALLS_MAX + 1)
            with pytest.raises(Unavailable) as refused:
                await plane.infer(call())
            assert refused.value.reason == "QUEUE_FULL"
            model.open.set()
            await asyncio.gather(*waiting)
        assert (plane.waiting, plane.in_flight) == (0, 0)

    run(scenario, served(model, inline=False))


def test_the_models_of_a_position_are_changed_by_operators_only() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        for change in (plane.load, plane.unload):
            with pytest.raises(Denied) as refused:
                await change("forecast")
            assert refused.value.reason == "NOT_FOR_XAPPS"

    run(scenario)


def test_a_timeout_among_the_parameters_is_a_deadline_too() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        asked = call(parameters={"timeout": 500_000})
        asked.arrived = clock.now - 0.5
        with pytest.raises(DeadlineExceeded):
            await plane.infer(asked)
        asked.arrived = clock.now - 0.4
        assert (await plane.infer(asked)).outputs
        asked.deadline = clock.now
        with pytest.raises(DeadlineExceeded):
            await plane.infer(asked)

    run(scenario)


def test_priority_and_an_empty_timeout_change_nothing() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        parameters: dict[str, object] = {"priority": 1, "timeout": 0, "sequence_id": 0, "sequence_start": False}
        assert (await plane.infer(call(parameters=parameters))).outputs

    run(scenario)


@pytest.mark.parametrize("timeout", [-1, 1.5, "1", True, 1 << 60])
def test_a_timeout_that_is_none_is_the_callers_mistake(timeout: object) -> None:
    assert isinstance(refusal(call(parameters={"timeout": timeout})), Invalid)


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_refused_because_nothing_is_kept_between_calls(name: str) -> None:
    assert isinstance(refusal(call(parameters={name: 1})), Unsupported)


def test_a_refusal_is_told_before_submit_returns() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        heard = Heard()
        withdraw = plane.submit(call("other"), heard.done("a"))
        assert isinstance(heard.error("a"), NotFound)
        withdraw()
        assert plane.take_counts().requests == 1

    run(scenario)


def test_how_a_model_is_run_is_told() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        config = plane.config("forecast")
        assert (config.batch_rows_max, config.batching, config.instances, config.file) == (0, False, 2, "")
        assert config.metadata == plane.metadata("forecast", "")

    async def together(plane: DataPlane, clock: Clock) -> None:
        config = plane.config("forecast")
        assert (config.batch_rows_max, config.batching, config.batch_delay_us) == (8, True, 0)

    run(scenario, threads=2)
    run(together, served(rows_max=8))


def test_a_model_that_does_not_serve_has_no_config() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        with pytest.raises(Unavailable):
            plane.config("forecast")

    run(scenario, served(life=Lifecycle()))


def test_a_template_that_gives_one_array_gives_the_one_output() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        assert (await plane.infer(call())).outputs[0].name == "y"

    run(scenario, served(lambda inputs: double(inputs)["y"]))
