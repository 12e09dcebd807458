"""One cell: a position that serves, a deployment, a blow somewhere in it, and what the callers counted."""

import time
from dataclasses import dataclass

from tests.chaos.cells import Blow, Cell, Link, Moment, Victim
from tests.chaos.strike import is_back, strike
from tests.chaos.world import VERSIONS, World, wait
from tests.e2e.load import Load

RATE_MIN = 200.0  # calls a second, answered, while nothing is interrupted
HELD_S = 8.0  # that a bad link lasts: several times as long as a process takes to be back
LOST_S = 35.0  # longer than an agent's lease (30 s): the control plane gives it up
SETTLED_S = 2.0  # of calls after everything is as it should be
OUTAGE_S_MAX = 30.0  # of a box that was switched off: agent, gateway, monitor and hosts start anew


@dataclass(frozen=True, slots=True)
class Verdict:
    cell: Cell
    calls: int
    failed: int
    """Calls that failed without leave."""
    interrupted: int
    """Calls that failed while nothing was left to answer them, where that is the cell's nature."""
    per_s: float
    recovered_s: float
    """From the end of the blow to the state that was asked for, agreed by everybody."""
    wrong: str = ""
    """What is not as it must be; empty where all is."""
    time: str = ""
    """When its run ended, UTC, to the minute."""


def run(world: World, cell: Cell, version: str) -> Verdict:
    """Deploys `version` (the other one serves) through the cell's fault. Never raises for what it finds."""
    if cell.blow is Blow.RESTORE:
        world.back_up()
    with world.load() as load:
        began_s = time.monotonic()
        try:
            struck_s = _deploy_through(world, cell, version, load)
            world.platform.until(lambda: is_back(world, cell.victim), f"{cell.victim} is back")
            world.proxy.set(Link.ONLINE)
            if cell.blow is Blow.RESTORE and cell.moment is not Moment.BEFORE:
                world.platform.until(world.edge_is_ahead, "the edge server keeps what the backup does not know")
                world.ask_for(version)
            world.platform.until(lambda: world.serves(version), f"{version} serves as asked for")
            recovered_s, wrong = time.monotonic() - struck_s, ""
        except AssertionError as error:
            recovered_s, wrong = time.monotonic() - began_s, str(error).splitlines()[0]
        finally:
            world.proxy.set(Link.ONLINE)
        agreed_s = time.monotonic()
        wait(SETTLED_S)
        seconds = time.monotonic() - began_s
    interrupted = [at_s for at_s in load.failed_s if cell.interrupts and at_s < agreed_s]
    failed = len(load.failures) - len(interrupted)
    per_s = load.total / seconds
    return Verdict(
        cell,
        load.total,
        failed,
        len(interrupted),
        per_s,
        recovered_s,
        wrong or _complaint(cell, load, failed, interrupted, per_s),
    )


def _deploy_through(world: World, cell: Cell, version: str, load: Load) -> float:
    """Returns when the blow was over."""
    match cell.moment:
        case Moment.BEFORE:
            _hit(world, cell)
            struck_s = time.monotonic()
            world.ask_for(version)
        case Moment.DURING:
            world.ask_for(version)
            world.platform.until(lambda: world.has_begun(version), f"{version} is being started")
            _hit(world, cell)
            struck_s = time.monotonic()
        case Moment.AFTER:
            world.ask_for(version)
            world.platform.until(lambda: world.serves(version), f"{version} serves")
            _hit(world, cell)
            struck_s = time.monotonic()
    return struck_s


def _hit(world: World, cell: Cell) -> None:
    """What is struck comes back, or does not, while the link is as bad as the cell has it."""
    world.proxy.set(cell.link)
    strike(world, cell.victim, cell.blow)
    if cell.link is not Link.ONLINE:
        wait(LOST_S if cell.victim is Victim.NOBODY else HELD_S)


def _complaint(cell: Cell, load: Load, failed: int, interrupted: list[float], per_s: float) -> str:
    if load.wrong:
        return f"wrong answer: {load.wrong[0]}"
    if failed:
        return f"{failed} calls failed: {load.failures[-1]}"
    if interrupted and max(interrupted) - min(interrupted) > OUTAGE_S_MAX:
        return f"calls failed for {max(interrupted) - min(interrupted):.1f} s"
    if not cell.interrupts and cell.victim is not Victim.GATEWAY and per_s < RATE_MIN:
        return f"only {per_s:.0f} calls a second were answered"
    return ""


def other(version: str) -> str:
    return VERSIONS[1 - VERSIONS.index(version)]
