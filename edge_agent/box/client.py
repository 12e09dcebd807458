"""What people do on the machine itself, with or without a control plane: look, read logs, drain, hold, resume.

    python -m edge_agent status | logs | drain | hold | resume    --data-dir DIR

The agent answers on a Unix socket in its runtime directory, which only its own user may open: whoever can, may.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from google.protobuf import json_format
from google.protobuf.message import Message

from edge_agent.machine.layout import layout_of
from edge_agent.settings import ENV_PREFIX
from mesh import text
from mesh.locks import holder
from mesh.settings import Bounds, Positional, Settings, load
from mesh.times import seconds
from waypost import names
from waypost.api.control.v1.position_pb2 import PositionState
from waypost.api.edge.v1 import agent_pb2 as pb
from waypost.api.edge.v1.agent_pb2_grpc import AgentServiceStub
from waypost.errors import Unavailable
from waypost.rpc import open_channel

PATIENCE_S = 10.0  # an agent that lives answers within milliseconds


class BoxSettings(Settings):
    """Asks the agent on this machine, over its own socket; the control plane is not needed."""

    data_dir: Path = Path(".waypost/edge")
    """The agent's directory, as it was given to `waypost agent`."""

    runtime_dir: Path | None = None
    """The agent's directory for sockets, where it was given one."""

    json: bool = False
    """Print ProtoJSON."""


class ModeSettings(BoxSettings):
    """Stays until another one is set, through restarts of the agent and of the machine."""

    reason: str = ""
    """Why, for whoever looks at the edge server meanwhile."""


class LogSettings(BoxSettings):
    """Asks the agent on this machine for the last lines of a position's monitor and hosts."""

    position: Annotated[str, Positional()]
    """Position, as project/application/position."""

    tail: Annotated[int, Bounds(at_least=1, at_most=10_000)] = 100
    """Lines of each process."""


def status(settings: BoxSettings, agent: AgentServiceStub) -> None:
    answer: pb.GetAgentResponse = agent.GetAgent(pb.GetAgentRequest(), timeout=PATIENCE_S)
    _show(settings, answer.agent, _described)


def logs(settings: LogSettings, agent: AgentServiceStub) -> None:
    position = names.parse(settings.position, "positions")
    request = pb.ReadLogsRequest(position=position, tail_lines=settings.tail)
    source = ""
    for piece in agent.ReadLogs(request, timeout=PATIENCE_S):
        if settings.json:
            _say(_json(piece))
            continue
        if piece.source != source:
            _say(f"==> {piece.source} <==")
            source = piece.source
        sys.stdout.write(piece.text)


def drain(settings: ModeSettings, agent: AgentServiceStub) -> None:
    _set_mode(settings, agent, pb.AGENT_MODE_DRAIN)


def hold(settings: ModeSettings, agent: AgentServiceStub) -> None:
    _set_mode(settings, agent, pb.AGENT_MODE_HOLD)


def resume(settings: BoxSettings, agent: AgentServiceStub) -> None:
    _set_mode(settings, agent, pb.AGENT_MODE_FOLLOW)


def _set_mode(settings: BoxSettings, agent: AgentServiceStub, mode: pb.AgentMode.ValueType) -> None:
    request = pb.SetModeRequest(mode=mode, reason=getattr(settings, "reason", ""))
    answer: pb.SetModeResponse = agent.SetMode(request, timeout=PATIENCE_S)
    _show(settings, answer.agent, lambda shown: _MEANINGS[shown.mode])


Command = Callable[[Any, AgentServiceStub], None]
COMMANDS: dict[str, tuple[type[BoxSettings], Command, str]] = {
    "status": (BoxSettings, status, "Show the agent of this machine and its positions."),
    "logs": (LogSettings, logs, "Show what a position's monitor and hosts logged last."),
    "drain": (ModeSettings, drain, "Serve nothing here: routes empty, calls in flight end, hosts stop."),
    "hold": (ModeSettings, hold, "Keep what is here as it is; what the control plane changes waits."),
    "resume": (BoxSettings, resume, "Follow the control plane again, after drain or hold."),
}

_MEANINGS = {
    pb.AGENT_MODE_FOLLOW: "follows the control plane",
    pb.AGENT_MODE_HOLD: "holds: what is here stays as it is, changes wait",
    pb.AGENT_MODE_DRAIN: "drains: nothing is served here",
}


def main(verb: str, argv: list[str]) -> None:
    """Raises: MeshError. Ends the process for `--help` and wrong usage."""
    kind, command, meaning = COMMANDS[verb]
    prog = f"waypost agent {verb}"
    settings = load(kind, argv, prog=prog, env_prefix=ENV_PREFIX, description=meaning)
    layout = layout_of(settings.data_dir, settings.runtime_dir)
    if holder(layout.lock) is None:
        raise Unavailable(
            "AGENT_NOT_RUNNING",
            f"no agent runs in {layout.data_dir}",
            "name the agent's directory with --data-dir; what it has started serves on without it",
        )
    with open_channel(layout.box_address) as channel:
        command(settings, AgentServiceStub(channel))


def _show(settings: BoxSettings, agent: pb.Agent, words: Callable[[pb.Agent], str]) -> None:
    _say(_json(agent) if settings.json else words(agent))


def _json(message: Message) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True)


def _described(agent: pb.Agent) -> str:
    alone_s = seconds(agent.alone)
    because = f" ({agent.mode_reason})" if agent.mode_reason else ""
    about = [
        ("edge server", names.leaf(agent.edge_server)),
        ("agent", f"{agent.software_version}, {_MEANINGS[agent.mode]}{because}"),
        ("control plane", "heard" if agent.connected else f"not heard for {text.duration(alone_s)}"),
        ("desired state", f"number {agent.desired_version}{_waiting(agent.positions)}"),
    ]
    lines = [f"{what:{max(len(each) for each, _ in about)}}  {how}" for what, how in about]
    if not agent.positions:
        return "\n".join([*lines, "", "no positions"])
    return "\n".join(
        [*lines, "", text.table(("POSITION", "STATE", "SOFTWARE", "MESSAGE"), list(map(_row, agent.positions)))]
    )


def _waiting(positions: Iterable[pb.LocalPosition]) -> str:
    count = sum(position.status.held_generation > 0 for position in positions)
    return f", carried out but for {count} position{'s'[: count > 1]}" if count else ""


def _row(position: pb.LocalPosition) -> tuple[str, str, str, str]:
    state = PositionState.Name(position.status.state).removeprefix("POSITION_STATE_")
    software = ", ".join(sorted({replica.software_version for replica in position.status.replicas} - {""}))
    return names.short(position.name), state, software, position.status.message


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
