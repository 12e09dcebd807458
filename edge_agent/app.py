"""The agent as a process, from the lock on its data directory to SIGTERM.

    python -m edge_agent join ...        enrols with a join token, then as `run`
    python -m edge_agent run ...         until SIGTERM; hosts, monitors and the gateway go on without it
    python -m edge_agent stop-all ...    ends all that was started here, with or without an agent
    python -m edge_agent install | upgrade | check ...    versions of the software (box/)
    python -m edge_agent status | logs | drain | hold | resume ...    asks the agent that runs (box/client.py)

`join` is `run` with the words of somebody who sets a machine up. It may be repeated: a join that has succeeded needs
its token no more. `run` may be left out. Whatever fails while it starts (a taken port, a lock, a refused join token)
ends the process with a reason; whatever fails later is said in reports and logs, and tried again.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from edge_agent.assembly import Agent
from edge_agent.box import client
from edge_agent.box.install import InstallSettings, install
from edge_agent.box.stop import stop_all
from edge_agent.box.upgrade import CheckSettings, UpgradeSettings, check, upgrade
from edge_agent.identity.enrol import enrolled
from edge_agent.identity.enrolment import Enrolment
from edge_agent.machine.layout import Layout, layout_of
from edge_agent.machine.lock import take_lock
from edge_agent.settings import ENV_PREFIX, AgentSettings
from mesh import serve
from mesh.files import remove_leftovers
from mesh.settings import Settings, load
from waypost.errors import MeshError

VERBS = ("join", "run", "stop-all")
SOFTWARE: dict[str, tuple[type[Settings], Callable[[Any], None]]] = {
    "install": (InstallSettings, install),
    "upgrade": (UpgradeSettings, upgrade),
    "check": (CheckSettings, check),
}
JOIN_FLAGS = {"--token-file": "--join-token", "--name": "--edge-server"}
"""How `join` calls two of the settings."""

JOIN = """Enrols this machine as an edge server and runs its agent. It dials out only: no port of it need be reachable.

    waypost agent join --control-plane HOST:PORT --token-file FILE [--name NAME] [settings of the agent]

HOST:PORT is the control plane's link, as `waypost edge-server join-token` shows it; FILE holds the token that it made.
--name is needed where that token is for a pattern of names: the edge server is created then.
The same line starts the agent again later, with or without the token."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""
    arguments = list(argv)
    verb = arguments.pop(0) if arguments and arguments[0] in (*VERBS, *SOFTWARE, *client.COMMANDS) else "run"
    about = ""
    if verb == "join":
        arguments, about = _in_settings_words(arguments), JOIN
    try:
        if verb in client.COMMANDS:
            client.main(verb, arguments)
            return 0
        if verb in SOFTWARE:
            kind, command = SOFTWARE[verb]
            command(load(kind, arguments, prog=f"waypost agent {verb}", env_prefix=ENV_PREFIX))
            return 0
        settings = load(
            AgentSettings, arguments, prog=f"waypost agent {verb}", env_prefix=ENV_PREFIX, description=about
        )
    except MeshError as error:
        sys.stderr.write(serve.render(error))
        return 1
    life = stop_all if verb == "stop-all" else run
    return serve.run("agent", partial(life, settings), log_level=settings.log_level)


def _in_settings_words(arguments: Sequence[str]) -> list[str]:
    """`--token-file=FILE` as `--join-token=FILE`."""
    words = (argument.partition("=") for argument in arguments)
    return ["".join((JOIN_FLAGS.get(flag, flag), equals, value)) for flag, equals, value in words]


async def run(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Until `stop`. Raises: MeshError where it cannot start."""
    layout = layout_of(settings.data_dir, settings.runtime_dir)
    layout.create()
    take_lock(layout.lock)
    remove_leftovers(layout.identity, layout.ledger, *layout.positions.glob("*/"))
    enrolment = await _enrolled(settings, layout, stop)
    if enrolment is not None:
        async with AsyncExitStack() as stack:
            await Agent(settings, layout, enrolment, stack).run(stop)


async def _enrolled(settings: AgentSettings, layout: Layout, stop: asyncio.Event) -> Enrolment | None:
    """None where `stop` came first: at the first start the control plane may be away for long."""
    async with asyncio.TaskGroup() as tasks:
        enrolling = tasks.create_task(enrolled(settings, layout.identity), name="enrol")
        stopping = tasks.create_task(stop.wait(), name="stop")
        await asyncio.wait({enrolling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        enrolling.cancel()
        stopping.cancel()
    return None if enrolling.cancelled() else enrolling.result()
