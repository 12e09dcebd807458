# ruff: noqa: N802  methods are named by the proto
"""edge.v1.AgentService: for people on the machine, over a socket of their own (client.py is their end of it)."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from edge_agent.links.commands import Commands
from edge_agent.position.mode import Kind, Mode
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Solitude
from mesh import clock
from mesh.times import duration, timestamp
from waypost.api.edge.v1 import agent_pb2 as pb
from waypost.api.edge.v1 import agent_pb2_grpc as rpc
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.errors import Invalid

KINDS = {
    pb.AGENT_MODE_FOLLOW: Kind.FOLLOW,
    pb.AGENT_MODE_HOLD: Kind.HOLD,
    pb.AGENT_MODE_DRAIN: Kind.DRAIN,
}
MODES = {kind: mode for mode, kind in KINDS.items()}
REASON_CHARS_MAX = 200  # it stands in every message about the edge server


class BoxService(rpc.AgentServiceServicer):
    def __init__(
        self,
        ledger: Ledger,
        solitude: Solitude,
        commands: Commands,
        *,
        edge_server: str,
        software_version: str,
        reports: Callable[[], dict[str, PositionReport]],
        mode_changed: Callable[[], None],
    ) -> None:
        """edge_server: full name. reports: what was said last of each position."""
        self._ledger = ledger
        self._solitude = solitude
        self._commands = commands
        self._edge_server = edge_server
        self._software_version = software_version
        self._reports = reports
        self._mode_changed = mode_changed

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.GetAgentResponse:
        return pb.GetAgentResponse(agent=self._agent())

    async def ReadLogs(self, request: pb.ReadLogsRequest, context: Any) -> AsyncIterator[pb.ReadLogsResponse]:
        async for source, text in self._commands.read_logs(request.position, request.tail_lines):
            yield pb.ReadLogsResponse(source=source, text=text)

    async def SetMode(self, request: pb.SetModeRequest, context: Any) -> pb.SetModeResponse:
        """Raises: Invalid(BAD_MODE); Exhausted, Unavailable where it cannot be written down."""
        kind = KINDS.get(request.mode)
        if kind is None:
            raise Invalid("BAD_MODE", f"{request.mode} is no mode", "FOLLOW, HOLD or DRAIN")
        if len(request.reason) > REASON_CHARS_MAX:
            raise Invalid("BAD_MODE", f"the reason is longer than {REASON_CHARS_MAX} characters", "say it shorter")
        self._ledger.keep_mode(Mode(kind, request.reason, clock.now()))
        self._mode_changed()
        return pb.SetModeResponse(agent=self._agent())

    def _agent(self) -> pb.Agent:
        mode, alone_s = self._ledger.mode, self._solitude.seconds
        return pb.Agent(
            edge_server=self._edge_server,
            software_version=self._software_version,
            connected=not alone_s,
            alone=duration(alone_s),
            mode=MODES[mode.kind],
            mode_reason=mode.reason,
            mode_time=timestamp(mode.since_s) if mode.since_s else None,
            desired_version=self._ledger.desired.version,
            positions=[
                pb.LocalPosition(name=name, uid=report.uid, status=report.status)
                for name, report in sorted(self._reports().items())
            ],
        )
