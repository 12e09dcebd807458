"""What is done to a process, and what shows that it is over."""

import contextlib
import signal
from collections.abc import Sequence

import psutil

from tests.chaos.cells import Blow, Victim
from tests.chaos.world import World, wait

DAY_S = 86_400
FROZEN_S = 8.0  # longer than a lease between the processes of one machine (6 s), and than three missed health checks
EDGE = (("edge_agent", "run"), ("envoy", "--config-path"), ("position_monitor",), ("inference_host", "settings.toml"))

WORDS: dict[Victim, tuple[tuple[str, ...], ...]] = {
    Victim.NOBODY: (),
    Victim.HOST: (("inference_host", "settings.toml"),),
    Victim.MONITOR: (("position_monitor",),),
    Victim.AGENT: (("edge_agent", "run"),),
    Victim.CONTROL_PLANE: (("control_plane",),),
    Victim.GATEWAY: (("envoy", "--config-path"),),
    Victim.BOX: EDGE,
}
"""Words of the command lines of a victim's processes."""


def strike(world: World, victim: Victim, blow: Blow) -> None:
    """Returns when the blow is over; what died may not be back yet."""
    victims = [process for words in WORDS[victim] for process in world.processes(*words)]
    if victim is Victim.HOST:
        victims = sorted(victims, key=lambda process: process.create_time())[:1]
    assert victims or victim is Victim.NOBODY, f"there is no {victim}"
    match blow:
        case Blow.KILL:
            _signal(victims, signal.SIGKILL)
        case Blow.FREEZE:
            _signal(victims, signal.SIGSTOP)
            wait(FROZEN_S)
            _signal(victims, signal.SIGCONT)
        case Blow.TEAR:
            _signal(victims, signal.SIGKILL)
            _tear(world)
        case Blow.FILL:
            world.disks[victim].fill()
            wait(FROZEN_S)
            world.disks[victim].free()
        case Blow.AHEAD | Blow.BACK:
            world.clocks[victim].set(DAY_S if blow is Blow.AHEAD else -DAY_S)
            wait(FROZEN_S)
            world.clocks[victim].set(0)
        case Blow.RESTORE:
            world.restore()
        case Blow.NOTHING:
            pass


def is_back(world: World, victim: Victim) -> bool:
    return all(world.processes(*words) for words in WORDS[victim])


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _tear(world: World) -> None:
    """As a disk does that lies about having written: the newest page is cut in half."""
    pages = sorted((world.platform.data_dir / "edge" / "ledger").glob("*.json"), key=lambda page: page.stat().st_mtime)
    newest = pages[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
