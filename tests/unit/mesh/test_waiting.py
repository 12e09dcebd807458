"""A task of its own keeps a cancellation apart from a failure."""

import asyncio

import pytest

from mesh.waiting import in_own_task
from tests.sim.virtual import run


async def fail() -> None:
    await asyncio.sleep(1.0)
    raise ValueError("broken")


async def fail_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("broken")


async def fail_while_waiting() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())


async def answer() -> int:
    return 42


def test_it_returns_and_raises_what_the_coroutine_does() -> None:
    async def scenario() -> None:
        assert await in_own_task(answer()) == 42
        with pytest.raises(ValueError, match="broken"):
            await in_own_task(fail())

    run(scenario())


def test_who_is_cancelled_is_cancelled_whatever_the_coroutine_ends_with() -> None:
    async def scenario() -> None:
        life = asyncio.create_task(in_own_task(fail_when_cancelled()))
        await asyncio.sleep(1.0)
        life.cancel()
        await asyncio.wait([life])
        assert life.cancelled()

    run(scenario())


def test_a_group_that_fails_while_it_waits_leaves_no_cancellation_behind() -> None:
    async def scenario() -> None:
        with pytest.raises(ExceptionGroup):
            await in_own_task(fail_while_waiting())
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(scenario())
