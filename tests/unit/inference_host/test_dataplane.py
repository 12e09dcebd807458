"""What a host answers, and which error it answers with where it cannot."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from inference_host.calls import Answer, Call
from inference_host.dataplane import DataPlane, Served
from inference_host.execution import WAITING_MAX, Execution
from inference_host.lifecycle import Lifecycle
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import PLACE, Clock, Gate, call, double, served
from waypost.errors import DeadlineExceeded, Denied, Invalid, MeshError, NotFound, Unavailable, Unsupported

Scenario = Callable[[DataPlane, Clock], Awaitable[None]]


def run(scenario: Scenario, model: Served | None = None, *, threads: int = 1) -> None:
    async def main() -> None:
        execution, clock = Execution(threads), Clock()
        try:
            await scenario(planes.plane(model or served(), execution, clock), clock)
        finally:
            execution.close()

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
        assert (answer.model, answer.version, answer.id) == ("forecast", "7", "id-1")
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
        plane.served[0].life = plane.served[0].life.draining()
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
        execution = plane._execution
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(plane.infer(call())) for _ in range(WAITING_MAX + 1)]
            await asyncio.to_thread(model.entered.acquire)
            assert execution.waiting == WAITING_MAX
            with pytest.raises(Unavailable) as refused:
                await plane.infer(call())
            assert refused.value.reason == "QUEUE_FULL"
            model.open.set()
            await asyncio.gather(*waiting)
        assert (execution.waiting, execution.running) == (0, 0)

    run(scenario, served(model, inline=False))


def test_the_repository_is_changed_by_operators_only() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        with pytest.raises(Denied):
            plane.refuse_repository_change("load", "forecast")
        plane.place = type(PLACE)()
        with pytest.raises(Unsupported):
            plane.refuse_repository_change("unload", "forecast")

    run(scenario)


def test_a_deadline_is_the_earlier_of_the_transports_and_the_parameters() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        assert plane.deadline_of(None, {}) is None
        assert plane.deadline_of(2.0, {}) == clock.now + 2
        assert plane.deadline_of(2.0, {"timeout": 500_000}) == clock.now + 0.5
        assert plane.deadline_of(None, {"timeout": 500_000}) == clock.now + 0.5
        assert plane.deadline_of(0.1, {"timeout": 500_000}) == clock.now + 0.1
        assert plane.deadline_of(None, {"timeout": 0}) is None

    run(scenario)


def test_a_template_that_gives_one_array_gives_the_one_output() -> None:
    async def scenario(plane: DataPlane, clock: Clock) -> None:
        assert (await plane.infer(call())).outputs[0].name == "y"

    run(scenario, served(lambda inputs: double(inputs)["y"]))
