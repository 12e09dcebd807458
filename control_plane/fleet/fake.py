"""A fleet without agents: answers what it was given, and keeps what it was asked."""

from collections.abc import AsyncIterator, Mapping, Sequence

from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.errors import Unavailable


class FakeFleet:
    """answers: pieces by edge server; an edge server without any is not connected. figures: metrics by position."""

    def __init__(
        self,
        answers: Mapping[str, Sequence[Result]] | None = None,
        figures: Mapping[str, Sequence[PositionMetrics]] | None = None,
    ) -> None:
        self.answers = dict(answers or {})
        self.figures = dict(figures or {})
        self.asked: list[tuple[str, Command]] = []
        self.watching: set[str] = set()
        self.lost = 0
        """How many of the next commands lose their answer with their session."""

    async def command(self, edge_server: str, command: Command) -> AsyncIterator[Result]:
        if edge_server not in self.answers:
            raise Unavailable("AGENT_DISCONNECTED", f"the agent of {edge_server} is not connected now")
        self.asked.append((edge_server, command))
        if self.lost:
            self.lost -= 1
            raise Unavailable("CHILD_LOST", f"the connection to {edge_server} ended", "try again when it is back")
        for result in self.answers[edge_server]:
            yield result

    async def metrics(self, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        self.watching.add(position)
        try:
            for metrics in self.figures.get(position, ()):
                yield metrics
        finally:
            self.watching.discard(position)
