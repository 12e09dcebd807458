"""Whoever waits in vain in a test (tests/waiting.py) hears what for, and what was seen last."""

import asyncio
from collections.abc import Callable

import pytest

from tests.waiting import until, wait_until

Wait = Callable[..., object]


def later(*arguments: object, **options: object) -> object:
    return asyncio.run(until(*arguments, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", [later, wait_until])
def test_what_is_wanted_is_given_as_soon_as_it_is_there(wait: Wait) -> None:
    numbers = iter(range(10))
    assert wait(lambda: next(numbers), lambda number: number == 3, every_s=0.0) == 3
    assert wait(lambda: "there", within_s=0.0) == "there"


@pytest.mark.parametrize("wait", [later, wait_until])
def test_who_waits_in_vain_is_told_what_for_and_what_was_seen_last(wait: Wait) -> None:
    with pytest.raises(AssertionError) as vain:
        wait(lambda: [1, 2], lambda seen: 3 in seen, within_s=0.0, more=lambda: "the logs")
    first, second, third = str(vain.value).splitlines()
    assert first.startswith("not within 0 s: wait(lambda: [1, 2], lambda seen: 3 in seen")
    assert (second, third) == ("last seen: [1, 2]", "the logs")


def test_an_error_that_is_no_reason_to_give_up_is_what_was_seen_last() -> None:
    async def ask() -> str:
        raise ConnectionError("nobody there")

    with pytest.raises(AssertionError, match=r"ask\nlast seen: ConnectionError\('nobody there'\)"):
        later(ask, within_s=0.0, not_yet=ConnectionError)
    with pytest.raises(ConnectionError):
        later(ask)
