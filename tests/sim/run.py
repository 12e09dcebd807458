"""One run: a seed makes a world, what people do with it and what goes wrong; then the weather clears.

    storm   people act, faults strike; laws are watched at every step
    calm    everything is mended, nobody asks for anything: the mesh must come to rest as people asked
    quiet   it is at rest: nothing may happen any more, though the wall clocks jump

`run(seed)` returns what was broken, or nothing. The same seed always takes the same way.
"""

import asyncio
import gc
import logging
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from tests.sim.doors import simulated
from tests.sim.faults.machines import CLOCK_JUMP_S
from tests.sim.processes import ProcessLoop, Stuck
from tests.sim.rest import unsettled
from tests.sim.sizes import oversized
from tests.sim.witness.laws import Broken
from tests.sim.world import TIMING, World

STORM_S = (20.0, 100.0)
BUSY_S = (1.5, 3.0, 6.0)  # between two things that people do
BAD_S = (1.5, 3.0, 6.0, 20.0)  # between two faults
CALM_S = 400.0  # for everything to come to rest: restarts wait for up to two minutes after a bad day
QUIET_S = 30.0
LOOK_S = 2.0
TRACE = 60
MEMORY = Path("/dev/shm")  # artifacts are real files; they need no disk


@dataclass(frozen=True)
class Failed:
    """What one seed showed."""

    seed: int
    broken: Broken
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"seed {self.seed} breaks {self.broken}", "  the last things that happened, in virtual seconds:"]
        lines += [f"    {line}" for line in self.trace]
        return "\n".join([*lines, f"  again, with all of it: make sim SEED={self.seed}"])


@dataclass(frozen=True)
class Passed:
    seed: int
    virtual_s: float
    way: str
    """Digest of all that happened: the same for the same seed."""
    trace: tuple[str, ...] = ()


def run(seed: int, traced: int = TRACE) -> Passed | Failed:
    """One run of its own. traced: how many of the last things that happened come with the result."""
    directory = Path(tempfile.mkdtemp(prefix="waypost-sim-", dir=MEMORY if MEMORY.is_dir() else None))
    gc.freeze()  # a collection looks at this run's objects only, and at none in the middle
    gc.disable()
    try:
        with simulated():
            return _run(seed, directory, traced)
    finally:
        gc.enable()
        gc.collect()
        shutil.rmtree(directory, ignore_errors=True)


def _run(seed: int, directory: Path, traced: int) -> Passed | Failed:
    loop = ProcessLoop(random.Random(f"{seed}/turns"))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        world = World(seed, loop, directory, traced)
        book = world.witness.book
        structlog.configure(
            processors=[book.log],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.ReturnLoggerFactory(),
        )
        logging.disable(logging.CRITICAL)
        try:
            runner.run(_watched(world))
            return Passed(seed, loop.now_s, book.way.hexdigest(), tuple(book.trace))
        except Broken as broken:
            return Failed(seed, broken, tuple(book.trace))
        except Stuck as stuck:
            return Failed(seed, Broken("time-goes-on", str(stuck)), tuple(book.trace))
        except Exception as error:
            error.add_note(f"this was the simulator itself, at seed {seed}")
            raise
        finally:
            loop.finish()


async def _watched(world: World) -> None:
    """Ends with the first law that is broken. Raises: Broken."""
    book = world.witness.book
    watching = asyncio.create_task(book.news.wait())
    living = asyncio.create_task(_live(world))
    await asyncio.wait({watching, living}, return_when=asyncio.FIRST_COMPLETED)
    if book.broken is not None:
        raise book.broken
    await living


async def _live(world: World) -> None:
    world.boot()
    await asyncio.sleep(1.0)
    world.people.begin()
    await _storm(world)
    world.faults.mend()
    world.witness.book.note("the weather is fair")
    await _come_to_rest(world)
    world.witness.book.note("all is as it should be")
    await _stay_quiet(world)


async def _storm(world: World) -> None:
    loop, rng = world.loop, world.rng
    until_s = loop.now_s + rng.uniform(*STORM_S)
    acts = [
        (world.people.act, rng.choice(BUSY_S)),
        (world.faults.strike, rng.choice(BAD_S)),
        (lambda: _look(world), LOOK_S),
    ]
    due = [(loop.now_s + rng.expovariate(1 / every_s), act, every_s) for act, every_s in acts]
    while True:
        index = min(range(len(due)), key=lambda index: due[index][0])
        at_s, act, every_s = due[index]
        if at_s > until_s:
            return
        await asyncio.sleep(at_s - loop.now_s)
        act()
        due[index] = (loop.now_s + rng.expovariate(1 / every_s), act, every_s)


def _look(world: World) -> None:
    """At what no single step shows."""
    world.witness.machines.check_serving(world.edges)
    for fault in world.loop.faults:
        world.witness.book.fail("no-faults", fault)


async def _come_to_rest(world: World) -> None:
    from_s = world.loop.now_s + TIMING.lease  # by then nobody holds on to a connection that leads nowhere
    until_s = world.loop.now_s + CALM_S
    while True:
        await asyncio.sleep(LOOK_S)
        _look(world)
        if not all(world.is_confirmed(edge.name) for edge in world.edges):
            world.people.confirm()
        missing = await unsettled(world)
        if not missing and world.loop.now_s >= from_s:
            return
        if world.loop.now_s > until_s:
            world.witness.book.fail("converges", f"after {CALM_S:.0f} s: " + "; ".join(missing))


async def _stay_quiet(world: World) -> None:
    book = world.witness.book
    happened, until_s = book.happened, world.loop.now_s + QUIET_S
    while world.loop.now_s < until_s:
        await asyncio.sleep(QUIET_S / 3)
        book.must("quiet", book.happened == happened, f"{book.happened - happened} things happened")
        for machine in (*world.edges, *world.planes):
            machine.wall_skew_s += world.rng.uniform(-CLOCK_JUMP_S, CLOCK_JUMP_S)
    _look(world)
    missing = await unsettled(world)
    book.must("quiet", not missing, "; ".join(missing))
    for path, size in oversized(world):
        book.fail("bounded", f"{path} holds {size}")
