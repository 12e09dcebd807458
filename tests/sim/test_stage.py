"""What stands in for operating system, disk and network does what it says."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.link import WireLost
from tests.sim.disk import Disk, Files, Temporary
from tests.sim.network import Network, SimWire, Weather
from tests.sim.processes import Killed, Process, ProcessLoop, Stuck, writing
from waypost.api.link.v1 import link_pb2 as pb


def play(scene: Callable[[ProcessLoop], Awaitable[None]], seed: int = 1) -> None:
    loop = ProcessLoop(random.Random(seed))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            runner.run(scene(loop))  # type: ignore[arg-type]
        finally:
            loop.finish()


async def _count(seen: list[float], loop: ProcessLoop) -> None:
    try:
        for _ in range(100):
            await asyncio.sleep(1.0)
            seen.append(loop.now_s)
    finally:
        seen.append(-1.0)


def counting(loop: ProcessLoop, seen: list[float]) -> Process:
    process = loop.process("p")
    process.spawn(_count(seen, loop))
    return process


def test_a_killed_process_does_nothing_more_not_even_clean_up() -> None:
    seen: list[float] = []

    async def scene(loop: ProcessLoop) -> None:
        process = counting(loop, seen)
        await asyncio.sleep(2.5)
        process.kill()
        await asyncio.sleep(10.0)
        assert seen == [1.0, 2.0]

    play(scene)


def test_a_stopped_process_goes_on_where_it_was() -> None:
    seen: list[float] = []

    async def scene(loop: ProcessLoop) -> None:
        process = counting(loop, seen)
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(4.0)
        process.resume()
        await asyncio.sleep(0.1)
        assert seen == [1.0, 5.5]

    play(scene)


def test_a_process_that_is_to_die_at_a_write_dies_there() -> None:
    written: list[int] = []

    async def write_on() -> None:
        for number in range(10):
            writing()
            written.append(number)

    async def scene(loop: ProcessLoop) -> None:
        process = loop.process("p")
        process.writes_left = 3
        task = process.spawn(write_on())
        await asyncio.sleep(1.0)
        assert not process.alive
        assert isinstance(task.exception(), Killed)
        assert written == [0, 1, 2]

    play(scene)


def test_who_goes_round_in_circles_and_who_waits_for_nothing_is_named() -> None:
    async def spin(loop: ProcessLoop) -> None:
        loop.call_soon(again := lambda: loop.call_soon(again))
        await asyncio.sleep(1.0)

    async def wait(loop: ProcessLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="livelock"):
        play(spin)
    with pytest.raises(Stuck, match="deadlock"):
        play(wait)


def write(disk: Disk, name: str, data: bytes, *, sync: bool = True, sync_names: bool = True) -> None:
    """As mesh.files.write_atomically does, or somebody who leaves out one of its steps."""
    files, directory = Files(), disk.root("/d")
    descriptor, temporary = Temporary().mkstemp(dir=directory, prefix=".")
    with files.fdopen(descriptor, "wb") as file:
        file.write(data)
        if sync:
            files.fsync(file.fileno())
    files.replace(temporary, directory / name)
    if sync_names:
        files.fsync(files.open(directory, 0))


@settings(max_examples=50)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(seed: int, sync: bool, sync_names: bool) -> None:
    disk = Disk(random.Random(seed))
    write(disk, "page", b"old")
    write(disk, "page", b"newer", sync=sync, sync_names=sync_names)
    disk.cut_power()
    left = disk.root("/d/page").read_bytes()
    if sync and sync_names:
        assert left == b"newer"
    else:
        assert left in ({b"old", b"newer"} if sync else {b"old", b"newer", b"", b"ne"})


def test_paths_that_are_not_on_it_are_the_machines_own(tmp_path: Path) -> None:
    descriptor, name = Temporary().mkstemp(dir=tmp_path, prefix="x")
    Files().close(descriptor)
    assert Path(name).exists()


@settings(max_examples=50)
@given(st.integers(0, 1000))
def test_a_connection_keeps_its_order_and_loses_nothing_until_it_breaks(seed: int) -> None:
    async def scene(loop: ProcessLoop) -> None:
        network, ends = Network(random.Random(seed), Weather(delay_s=1.0, silent=0.0)), asyncio.Queue[SimWire]()
        wire = await network.connect(ends.put_nowait)
        for number in range(10):
            await wire.send(pb.ChildMessage(ack=pb.Ack(applied=pb.Applied(version=number))))
        other = await ends.get()
        network.weather.block(up=True, down=False)
        loop.call_later(20.0, lambda: network.weather.block(up=False, down=False))
        assert [(await other.receive()).ack.applied.version for _ in range(10)] == list(range(10))
        wire.cut()
        with pytest.raises(WireLost):
            await wire.receive()

    play(scene, seed)
