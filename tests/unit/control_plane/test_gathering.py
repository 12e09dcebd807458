"""Callers that come together are answered together, each with its own."""

import asyncio
from collections.abc import Sequence

import pytest

from control_plane.gathering import Gathered
from waypost.errors import Unavailable


class Slow:
    """A call that notes what it was asked, and answers when it is let."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, asked: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(asked))
        await self.go.wait()
        if 13 in asked:
            raise Unavailable("STORE_BUSY", "it is busy")
        return [10 * number for number in asked]


async def under_way(slow: Slow, calls: int) -> None:
    while len(slow.calls) < calls:  # noqa: ASYNC110  what is waited for is a list
        await asyncio.sleep(0)


def test_who_comes_while_a_call_is_under_way_goes_with_the_next_one() -> None:
    async def scenario() -> None:
        slow = Slow()
        ask = Gathered(slow, most=3)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(ask(1))
            await under_way(slow, 1)
            others = [tasks.create_task(ask(number)) for number in range(2, 7)]
            await asyncio.sleep(0)
            slow.go.set()
        assert first.result() == 10
        assert [task.result() for task in others] == [20, 30, 40, 50, 60]
        assert slow.calls == [[1], [2, 3, 4], [5, 6]]

    asyncio.run(scenario())


def test_a_caller_who_is_cancelled_takes_nobody_with_him() -> None:
    async def scenario() -> None:
        slow = Slow()
        ask = Gathered(slow, most=10)
        gone, other = asyncio.ensure_future(ask(1)), asyncio.ensure_future(ask(2))
        await under_way(slow, 1)
        gone.cancel()
        slow.go.set()
        assert await other == 20

    asyncio.run(scenario())


def test_an_error_reaches_those_who_asked_together_and_nobody_else() -> None:
    async def scenario() -> None:
        slow = Slow()
        slow.go.set()
        ask = Gathered(slow, most=10)
        results = await asyncio.gather(ask(1), ask(13), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        assert await ask(2) == 20

    asyncio.run(scenario())


@pytest.mark.filterwarnings("error")
def test_a_call_fails_quietly_where_nobody_waits_for_it_any_more() -> None:
    async def scenario() -> None:
        slow = Slow()
        ask = Gathered(slow, most=10)
        gone = asyncio.ensure_future(ask(13))
        await under_way(slow, 1)
        gone.cancel()
        slow.go.set()
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
