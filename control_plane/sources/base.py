"""What a training platform must be able to do for us.

The words are those of waypost.api.training.v1: a source of another kind (an MLflow server, a bucket) translates what
it has into them, and everything behind this seam stays as it is.

A source keeps no promise about time. It may be away for days, repeat itself, or start over; whoever follows it keeps
the cursor, makes it durable together with what an event changed, and gives it back.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from waypost.api.training.v1.training_pb2 import DeployedVersion, SubscribeResponse


class ModelSource(Protocol):
    """One training platform, as one subscription sees it.

    Every method raises MeshError: Unavailable and its like where trying again later is enough, Unauthenticated and
    Denied where the activation token is not good (any more), Precondition where the subscription itself is wrong.
    """

    async def activate(self) -> str:
        """Proves who we are, once; returns the name that the platform gives itself. Repeatable and cheap."""

    def follow(self, after_sequence: int) -> AsyncGenerator[SubscribeResponse, None]:
        """Events after a cursor; 0: first all that is published, then `snapshot_end`, then each change.

        Never ends by itself: it raises. May repeat events. Raises OutOfRange where the platform's log no longer
        reaches back to the cursor: start over from 0.
        """

    def fetch(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        """A published file from an offset on, to its end. Raises NotFound where it is not published."""

    async def report(self, versions: Sequence[DeployedVersion]) -> None:
        """Tells where versions of this source serve; what is not named serves nowhere."""

    async def close(self) -> None:
        """Lets go of connections. Nothing else may be called afterwards."""

    async def forget(self) -> None:
        """Closes, and gives up what was kept for the subscription: it is no more."""
