"""Waiting for news, but not for ever: whoever wakes up looks at what is, whether he was woken or not."""

import asyncio
import contextlib


async def news_within(news: asyncio.Event, seconds: float) -> bool:
    """Returns when `news` is set, or after so many seconds (which may be none, or less); whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
    return news.is_set()
