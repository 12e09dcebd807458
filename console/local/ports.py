"""Who holds a port that we need, and the flag that chooses another."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from console.local.choices import HOST, Ports
from console.local.components import AGENT, CONTROL_PLANE, TRAINING
from waypost.errors import Precondition

COMMAND_CHARACTERS_MAX = 160  # of the holder's command line, enough to recognise it


@dataclass(frozen=True, slots=True)
class Need:
    """A port, what it is for, the flag that changes it, and the component that listens there."""

    port: int
    purpose: str
    flag: str
    component: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on a port."""

    pid: int
    name: str
    user: str
    command: str


def needs(ports: Ports) -> tuple[Need, ...]:
    """The ports that must be free, unless the component that wants them runs already."""
    return (
        Need(ports.training, "training platform", "--training-port", TRAINING),
        Need(ports.api, "control plane's API", "--api-port", CONTROL_PLANE),
        Need(ports.link, "control plane's link to agents", "--link-port", CONTROL_PLANE),
        Need(ports.gateway, "gateway", "--gateway-port", AGENT),
    )


def refuse_taken(wanted: Iterable[Need], data_dir: Path) -> None:
    """Raises: Precondition(PORT_TAKEN) that names the holder and the flag.

    A holder that was started for this data directory is ours: a gateway outlives its agent, and is adopted with it.
    """
    for need in wanted:
        if is_taken(need.port):
            holder = _holder(need.port)
            if holder is None or str(data_dir) not in holder.command:
                raise conflict(need, holder)


def conflict(need: Need, holder: Holder | None) -> Precondition:
    """The error for one port. holder: None where we may not see it."""
    if holder is None:
        by = "a process that only its owner may see, or by a connection that ended within the last minute"
        stop = "stop it, or try again in a minute"
    else:
        by = f"{holder.name} (pid {holder.pid}, of {holder.user}): {holder.command[:COMMAND_CHARACTERS_MAX]}"
        stop = f"stop it (kill {holder.pid})"
    return Precondition(
        "PORT_TAKEN",
        f"port {need.port}, wanted for the {need.purpose}, is taken by {by}",
        f"{stop}, or choose another port with {need.flag}, or shift all ports with --port-base",
        port=str(need.port),
    )


def is_taken(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _holder(port: int) -> Holder | None:
    import psutil  # 4 MB; needed only when something is wrong

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                process = psutil.Process(connection.pid)
                return Holder(process.pid, process.name(), process.username(), " ".join(process.cmdline()))
    except psutil.Error:
        pass  # it is somebody else's, or it ended just now
    return None
