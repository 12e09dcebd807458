"""What the services ask of the fleet: the sessions with the agents, behind two methods.

Nothing needs to be told that a spec changed: whoever must know watches the store, which wakes within the process.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.command_pb2 import Command, Result

T = TypeVar("T")


class Fleet(Protocol):
    """Implemented by control_plane.fleet; `FakeFleet` (fake.py) is the fake that ships."""

    def command(self, edge_server: str, command: Command) -> AsyncIterator[Result]:
        """Pieces of the answer; the last has been yielded when this ends.

        `command.id` and `command.time_to_live` are set by the caller. Raises what the agent answered, or
        Unavailable(AGENT_DISCONNECTED) where it cannot be asked now: nothing was done then.
        """

    def metrics(self, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        """Live figures while the iterator is held: interest is sent down as long as somebody looks. Newest only."""


@asynccontextmanager
async def held(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Ends an iterator when the block ends, not when the collector comes by: interest and commands end with it."""
    try:
        yield iterator
    finally:
        if close := getattr(iterator, "aclose", None):
            await close()
