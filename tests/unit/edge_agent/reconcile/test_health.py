"""How soon a host that says nothing is known for it, on virtual time."""

import asyncio
from typing import Any

from edge_agent.position.diff import Phase
from edge_agent.reconcile.health import HealthChecks, HealthTiming, Patient
from tests.sim.virtual import run

PATIENT = Patient("u", "r-1", 1, "127.0.0.1:1")
TIMING = HealthTiming()


class Silent(HealthChecks):
    """Every host is asked in vain, for as long as one has patience."""

    async def _ask(self, check: Any) -> bool | None:
        await asyncio.sleep(TIMING.patience)
        return None


def test_a_silent_host_is_asked_as_often_as_one_that_answers() -> None:
    async def scenario() -> None:
        health = Silent(TIMING)
        health.watch("u", [PATIENT], assumed_ready=[PATIENT.id])
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(health.run())
            for phase in (Phase.READY, Phase.SILENT):
                pulse = health.pulse(PATIENT)
                assert pulse is not None
                assert pulse.phase is phase
                await asyncio.sleep(TIMING.misses * TIMING.every + 0.1)
            running.cancel()

    run(scenario())
