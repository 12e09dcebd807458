"""Async tests without a plugin."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tests import waiting
from tests.sim import virtual

PATIENCE_S = 20.0  # everything is in this process
T = TypeVar("T")


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 2 * PATIENCE_S))

    return run


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test in which nobody works on a thread or waits at a socket: nobody is late, nobody has to wait."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        virtual.run(test(*arguments, **keywords))

    return run


async def until(read: Callable[[], Awaitable[T] | T], wanted: Callable[[T], object] = bool, what: str = "") -> T:
    """Lets everything else run until what `read` gives is `wanted`. Looks often: what happens here takes no time."""
    return await waiting.until(read, wanted, what=what, within_s=PATIENCE_S, every_s=0.001)
