"""One call for many callers: whoever asks while a call is under way asks together with the next one.

A transaction costs the same few milliseconds for one row as for a hundred, and a fleet that comes back asks for
thousands in a second. A caller who is alone waits for nobody; one of many waits for the call under way, and then for
the one that he shares.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class _Batch(Generic[A, B]):
    """Those who ask together."""

    task: asyncio.Task[Sequence[B]]

    def __init__(self) -> None:
        self.asked: list[A] = []


class Gathered(Generic[A, B]):
    """`call` for one; calls are made one after the other, with what was asked first in the first of them."""

    def __init__(self, call: Callable[[Sequence[A]], Awaitable[Sequence[B]]], most: int) -> None:
        """call: answers all of what is asked, in its order. most: that are asked at once."""
        self._call = call
        self._most = most
        self._turn = asyncio.Lock()
        self._next: _Batch[A, B] | None = None
        self._running: set[asyncio.Task[Sequence[B]]] = set()

    async def __call__(self, asked: A) -> B:
        """What `call` answers to it. Raises what `call` raises; a caller who is cancelled takes nobody with him."""
        batch = self._next
        if batch is None or len(batch.asked) >= self._most:
            batch = self._begin()
        number = len(batch.asked)
        batch.asked.append(asked)
        return (await asyncio.shield(batch.task))[number]

    def _begin(self) -> _Batch[A, B]:
        batch = self._next = _Batch()
        batch.task = asyncio.create_task(self._run(batch), name="gathered")  # owned here, until it has ended
        self._running.add(batch.task)
        batch.task.add_done_callback(self._ended)
        return batch

    async def _run(self, batch: _Batch[A, B]) -> Sequence[B]:
        async with self._turn:
            if self._next is batch:
                self._next = None  # whoever asks from here on asks with the next one
            return await self._call(batch.asked)

    def _ended(self, task: asyncio.Task[Sequence[B]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the callers were told, unless they had all gone
