"""Threads that models run on: each takes one thing after the other, and is handed the next before it asks.

Not concurrent.futures: a pool starts another thread whenever the last one has not come to rest yet, and then they wait
for each other's locks. Here whoever hands out the work knows which thread is free, and takes the one that was busy
last: its stack is still in the cache.

They give way to event loops, their own host's and its neighbours' (turns.py).
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from inference_host.serving import turns

Errand = Callable[[], object]


class ModelThread:
    """One thread. It does not keep its process from ending."""

    def __init__(self, name: str) -> None:
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        return self._thread.ident or 0

    def take(self, errand: Errand) -> None:
        """Runs `errand` after those before it. It must not raise."""
        self._errands.put(errand)

    def stop(self) -> None:
        """The thread ends when it has done what it has taken."""
        self._errands.put(None)

    def _run(self) -> None:
        turns.give_way()
        while (errand := self._errands.get()) is not None:
            errand()
            del errand  # and with it what it holds, while there is no next one
