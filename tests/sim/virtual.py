"""Virtual time for asyncio: when nothing is ready, the clock jumps to the next timer.

A simulated day of sleeping tasks takes milliseconds, and the same seed always takes the same way.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError(f"deadlock at {self.loop.virtual_s} s: everybody waits and no timer is set")
        if not events and timeout:
            self.loop.virtual_s += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time only passes while everybody waits."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self.virtual_s = 0.0

    def time(self) -> float:
        return self.virtual_s


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still unless told: a machine that stalls makes nobody late. Threads run."""

    now = 0.0

    def time(self) -> float:
        return self.now


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Runs a scenario on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
