"""Async tests without a plugin."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_S = 20.0  # a test that takes longer hangs


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), PATIENCE_S))

    return run


async def until(true: Callable[[], Awaitable[bool] | bool]) -> None:
    """Lets everything else run until `true`; `scenario` gives up where that never happens."""
    while True:
        found = true()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.001)
