"""Waiting for news, but not for ever: whoever wakes up looks at what is, whether he was woken or not.

And ending when told so: `in_own_task`.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def news_within(news: asyncio.Event, seconds: float) -> bool:
    """Returns when `news` is set, or after so many seconds (which may be none, or less); whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
    return news.is_set()


async def in_own_task(coroutine: Coroutine[Any, Any, T]) -> T:
    """What `coroutine` returns or raises; but cancelled, this is cancelled, whatever `coroutine` ends with then.

    For loops that go on after a failure. A TaskGroup (before Python 3.13) forgets that its task was cancelled where one
    of its own fails at the same time: it raises the failure only, and the loop would never end. Nor does
    `Task.cancelling` tell: a TaskGroup that fails while it waits for its tasks leaves that raised.
    """
    task = asyncio.create_task(coroutine)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
