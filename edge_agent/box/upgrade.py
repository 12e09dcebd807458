"""`waypost agent upgrade`: the agent of this machine, by another version of itself, or by the old one again.

    <data_dir>/software/<version>/    virtual environments (install.py)
    <data_dir>/software/current       a link to one of them; what starts the agent starts it from here

What the agent has started does not depend on it: hosts, monitors and the gateway serve on while it is away, and are
found again by whichever version comes. So an upgrade is: install the version, ask it whether it can read what the old
one has written (`check`), point `current` at it, and end the agent; whatever supervises it (systemd, a container, a
loop in a shell) starts it again. It is ready when it answers, as that version, and every position serves that served
before. Where it is not in time, `current` points back and the agent is ended once more: the old one serves on.

Nothing here is remembered: interrupted anywhere, `current` says which version will run, and the command may be given
again. It needs no control plane.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from edge_agent.box.install import InstallSettings, point, provide
from edge_agent.machine.layout import Layout, layout_of
from edge_agent.machine.software import Software
from edge_agent.state.ledger import Ledger
from mesh.locks import holder
from mesh.settings import Bounds, Settings
from mesh.version import VERSION
from waypost import names
from waypost.api.control.v1 import position_pb2
from waypost.api.edge.v1 import agent_pb2
from waypost.api.edge.v1.agent_pb2_grpc import AgentServiceStub
from waypost.errors import MeshError, Precondition, Unavailable
from waypost.rpc import open_channel

LOOK_S = 0.1
ANSWER_S = 2.0  # one that starts may not answer yet; it is asked again
SERVING = frozenset(
    (
        position_pb2.POSITION_STATE_IN_SERVICE,
        position_pb2.POSITION_STATE_UPDATING,
        position_pb2.POSITION_STATE_DEGRADED,
    )
)


class UpgradeSettings(InstallSettings):
    """Replaces this machine's agent by another version of itself; what serves serves on. Goes back by itself where the
    new one does not get ready."""

    runtime_dir: Path | None = None
    """The agent's directory for sockets, where it was given one."""

    patience_s: Annotated[float, Bounds(above=0, at_most=3600)] = 60.0
    """Seconds for the new agent to be started and to have taken over everything, and for the old one to come back."""


class CheckSettings(Settings):
    """Says whether this version of the agent can go on from what another one has written; changes nothing."""

    data_dir: Path = Path(".waypost/edge")
    """The agent's directory."""


def check(settings: CheckSettings) -> None:
    """Raises: Precondition(LEDGER_FORMAT)."""
    Ledger(layout_of(settings.data_dir, None).ledger, only_look=True)
    _say(f"{VERSION} can go on from what is in {settings.data_dir}")


def upgrade(settings: UpgradeSettings) -> None:
    """Raises: MeshError; UPGRADE_FAILED says which agent runs now."""
    layout = layout_of(settings.data_dir, settings.runtime_dir)
    software = Software(layout.software)
    pid = _started_from_current(layout, software)
    before = _ask(layout)
    if before.software_version == settings.version:
        _say(f"the agent is {settings.version} already")
        return
    provide(software, settings.version, settings.wheels)
    _check_by(software, settings)
    old = os.readlink(software.current)
    serving = _serving(before)
    try:
        _exchange(layout, software, settings.version, pid)
        _wait(lambda: _missing(layout, settings.version, serving), settings.patience_s)
    except TimeoutError as error:
        raise _gone_back(layout, software, old, before.software_version, settings, str(error)) from error
    has = f"{len(serving)} position{' that serves' if len(serving) == 1 else 's that serve'}"
    _say(f"the agent is {settings.version}, was {before.software_version}; it has {has}")


def _started_from_current(layout: Layout, software: Software) -> int:
    """Its process id. Raises: Unavailable(AGENT_NOT_RUNNING), Precondition(NOT_FROM_CURRENT)."""
    pid = holder(layout.lock)
    if pid is None:
        raise Unavailable("AGENT_NOT_RUNNING", f"no agent runs in {layout.data_dir}", "name it with --data-dir")
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if not any(software.is_current(word) for word in command[:2]):
        raise Precondition(
            "NOT_FROM_CURRENT",
            f"the agent (pid {pid}) was started by {command[0]}, not from {software.current}",
            f"it would come back as it is: `waypost agent install {VERSION}` makes that link; let what supervises the"
            f" agent start {software.current}/bin/waypost agent run",
        )
    return pid


def _check_by(software: Software, settings: UpgradeSettings) -> None:
    """Asks the new version. Raises: Precondition(UPGRADE_REFUSED); nothing has changed then."""
    command = software.command(settings.version, "edge_agent", "check", "--data-dir", str(settings.data_dir))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Precondition(
            "UPGRADE_REFUSED",
            f"{settings.version} cannot go on from what is here: {' '.join(done.stderr.split())}",
            "nothing was changed; upgrade to a version between first",
        )


def _exchange(layout: Layout, software: Software, version: str, pid: int | None) -> None:
    """Has the agent started from that version; `pid` is the one to end."""
    point(software, version)
    if pid is not None and holder(layout.lock) == pid:
        os.kill(pid, signal.SIGTERM)


def _gone_back(
    layout: Layout, software: Software, old: str, old_version: str, settings: UpgradeSettings, why: str
) -> MeshError:
    """Points back, and waits for the old agent."""
    _exchange(layout, software, old, holder(layout.lock))
    failed = f"{settings.version} did not get ready within {settings.patience_s:g} s: {why}"
    try:
        _wait(lambda: _missing(layout, old_version, frozenset()), settings.patience_s)
    except TimeoutError:
        hint = f"start the agent: {software.current} is {old_version} again; what it has started serves on without it"
        return Unavailable("UPGRADE_FAILED", f"{failed}; nobody has started {old_version} again", hint)
    return Unavailable("UPGRADE_FAILED", f"{failed}; {old_version} runs again", "the agent's own log says more")


def _missing(layout: Layout, version: str, serving: frozenset[str]) -> str:
    """What the agent still has to do until it is as wanted; empty: nothing."""
    if holder(layout.lock) is None:
        return "no agent runs"
    try:
        agent = _ask(layout)
    except MeshError as error:
        return f"it does not answer: {error.message}"
    if agent.software_version != version:
        return f"the agent that runs is {agent.software_version}"
    left = sorted(serving - _serving(agent))
    return (
        f"{len(left)} of {len(serving)} positions do not serve yet, the first is {names.short(left[0])}" if left else ""
    )


def _wait(missing: Callable[[], str], patience_s: float) -> None:
    """Until nothing is missing. Raises: TimeoutError that says what is."""
    end_s = time.monotonic() + patience_s
    while why := missing():
        if time.monotonic() >= end_s:
            raise TimeoutError(why)
        time.sleep(LOOK_S)


def _ask(layout: Layout) -> agent_pb2.Agent:
    with open_channel(layout.box_address) as channel:
        return AgentServiceStub(channel).GetAgent(agent_pb2.GetAgentRequest(), timeout=ANSWER_S).agent


def _serving(agent: agent_pb2.Agent) -> frozenset[str]:
    return frozenset(position.name for position in agent.positions if position.status.state in SERVING)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
