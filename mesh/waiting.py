"""Waiting for news, but not for ever: whoever wakes up looks at what is, whether he was woken or not.

And ending when told so: `heed_cancellation`.
"""

import asyncio
import contextlib


async def news_within(news: asyncio.Event, seconds: float) -> bool:
    """Returns when `news` is set, or after so many seconds (which may be none, or less); whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
    return news.is_set()


def heed_cancellation() -> None:
    """Raises CancelledError where the running task was told to end, and something has swallowed that.

    A TaskGroup does (before Python 3.13) where one of its tasks fails at the same time: it raises the failure only. So
    whoever catches what a TaskGroup raises, and goes on, must ask.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
