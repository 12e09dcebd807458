"""Wakes those who wait for a number to rise."""

import asyncio


class Bell:
    """Rings for everybody who waits at that moment. For one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        await self._rung.wait()


class Wake:
    """A number that only rises. Several may share a bell, so that one can wait for whichever rises first."""

    def __init__(self, value: int, bell: Bell) -> None:
        self.value = value
        self._bell = bell

    def rise(self, value: int) -> None:
        """Wakes everybody if `value` is news."""
        if value > self.value:
            self.value = value
            self._bell.ring()

    async def beyond(self, value: int) -> int:
        """The number as soon as it is greater than `value`."""
        while self.value <= value:
            await self._bell.wait()
        return self.value
