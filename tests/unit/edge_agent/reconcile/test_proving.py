"""A position is proved again for each generation, each version that joins, and each gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from edge_agent.position.picture import Proof
from edge_agent.reconcile.probe import Answer, FakeProbe, prove
from edge_agent.reconcile.proving import Proving, Subject
from tests.unit.edge_agent.rig import UID, model_version, run
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest, ModelInferResponse
from waypost.errors import Invalid, Unavailable

SUBJECT = Subject(UID, 1, frozenset({"v1"}), 0, model_version("1"), Path("/nowhere"), "m", Path("/nowhere/key"))
ANSWER = Answer(ModelInferResponse(), "sha256:1")


class World:
    def __init__(self) -> None:
        self.broken = False
        self.probe = FakeProbe(self._answer)
        self.proving = Proving(self.probe, lambda: None)

    def _answer(self, uid: str) -> Answer:
        if self.broken:
            raise Unavailable("NO_HOST", "no host answers")
        return ANSWER

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proving]:
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(self.proving.run())
            yield self.proving
            life.cancel()


def test_one_success_is_enough_until_something_changes() -> None:
    async def scenario() -> None:
        world = World()
        async with world.running() as proving:
            for subject, probes in [
                (SUBJECT, 1),
                (replace(SUBJECT, serve_as="other"), 1),
                (replace(SUBJECT, generation=2), 2),
                (replace(SUBJECT, generation=2, shapes=frozenset({"v1", "v2"})), 3),
                (replace(SUBJECT, generation=2, shapes=frozenset({"v2"})), 3),
                (replace(SUBJECT, generation=2, shapes=frozenset({"v2"}), gateway_restarts=1), 4),
            ]:
                proving.want(subject)
                await asyncio.sleep(60)
                assert world.probe.calls == probes
            assert proving.answered == "sha256:1"

    run(scenario())


def test_what_an_agent_before_proved_holds_until_the_next_attempt() -> None:
    async def scenario() -> None:
        world = World()
        world.proving.assume(Proof(1, frozenset({"v1"})))
        async with world.running() as proving:
            proving.want(SUBJECT)
            await asyncio.sleep(1)
            assert world.probe.calls == 1

    run(scenario())


def test_a_failure_is_said_after_some_attempts_and_forgotten_with_the_next_success() -> None:
    async def scenario() -> None:
        world = World()
        world.broken = True
        async with world.running() as proving:
            proving.want(SUBJECT)
            await asyncio.sleep(0.15)
            assert proving.proof is None
            await asyncio.sleep(10)
            assert proving.proof is not None
            assert proving.proof.failure is not None
            assert proving.proof.failure.reason == "NO_HOST"
            assert world.probe.calls < 12
            world.broken = False
            await asyncio.sleep(6)
            assert proving.proof.failure is None
            proving.want(None)
            assert proving.proof is None

    run(scenario())


def test_sizes_that_do_not_fit_are_tried_in_turn() -> None:
    async def scenario() -> None:
        refused = iter([Invalid("BAD_SHAPE", "8 is not 1"), None])

        def answer(uid: str) -> Answer:
            if (error := next(refused)) is not None:
                raise error
            return ANSWER

        probe = FakeProbe(answer)
        assert await prove(probe, UID, Path("/nowhere"), [ModelInferRequest(), ModelInferRequest()]) == ANSWER
        assert probe.calls == 2

    run(scenario())
