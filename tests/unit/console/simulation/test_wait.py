"""Waiting until everybody has got somewhere."""

import asyncio
from dataclasses import dataclass

from console.simulation.fleet import Wait


@dataclass(eq=False)
class Runner:
    """As much of an agent as waiting looks at."""

    there: bool = False


def test_it_is_over_when_the_last_one_is_there_and_each_counts_once() -> None:
    async def scenario() -> None:
        runners = [Runner(there=True), Runner(), Runner()]
        wait = Wait(runners, lambda runner: runner.there)
        assert len(wait.took_s) == 1
        for runner in runners[1:]:
            assert not wait.over.is_set()
            runner.there = True
            wait.look(runner)
            wait.look(runner)
        assert wait.over.is_set()
        assert len(wait.took_s) == 3
        assert wait.took_s == sorted(wait.took_s)

    asyncio.run(scenario())


def test_who_goes_back_is_not_waited_for_again() -> None:
    async def scenario() -> None:
        runner = Runner(there=True)
        wait = Wait([runner], lambda one: one.there)
        runner.there = False
        wait.look(runner)
        assert wait.over.is_set()

    asyncio.run(scenario())


def test_with_nobody_to_wait_for_it_is_over() -> None:
    async def scenario() -> None:
        assert Wait([], lambda runner: True).over.is_set()

    asyncio.run(scenario())
