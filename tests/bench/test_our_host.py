"""Our host stands in the benchmark as it stands at a position: linked, guarded, counting."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import build, models, outside
from tests.bench.batching import WASTED
from tests.bench.load import Driver, Shape
from tests.bench.machine import Cores
from tests.bench.models import MLP
from tests.bench.requests import Face
from tests.bench.servers import Room, Running
from tests.bench.variants import CELLS, ENCRYPTED, INTERPRETED
from tests.bench.waypost import FACES, Waypost, heard, wait_for

CALLS = Shape(in_flight=4, seconds=20.0, warm_up_s=0.0, calls_max=40)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    scratch = tmp_path_factory.mktemp("bench")
    try:
        driver = Driver(build.driver(build.CACHE), scratch, core=None)
    except build.CannotBuild as why:
        pytest.skip(str(why))
    samples = models.write([MLP], scratch / "models")
    return Room(build.CACHE, scratch, scratch / "models", samples, driver, Cores(None, None))


@pytest.fixture(scope="module")
def host(room: Room) -> Iterator[Running]:
    with Waypost().start([MLP], room) as running:
        yield running


@pytest.mark.parametrize("face", FACES)
def test_stock_clients_get_right_answers(room: Room, host: Running, face: Face) -> None:
    outside.check(host.targets[MLP.name, face], room.samples[MLP.name])


@pytest.mark.parametrize("face", FACES)
def test_a_call_without_a_token_is_refused(room: Room, host: Running, face: Face) -> None:
    target = replace(host.targets[MLP.name, face], headers={})
    measured = room.driver.measure(target, room.samples[MLP.name], CALLS, host.processes.cpu_flags)
    assert measured.failures == {"HTTP_401" if face.over_http else "UNAUTHENTICATED": 40}


def test_calls_are_encrypted_where_that_is_measured(room: Room) -> None:
    if not build.tls_headers():
        pytest.skip("the driver was built without OpenSSL")
    with ENCRYPTED.other.start([MLP], room) as running:
        for cell in CELLS:
            target = running.targets[MLP.name, cell.face]
            assert target.ca_file
            assert room.driver.measure(target, room.samples[MLP.name], CALLS, []).clean


def test_what_is_measured_is_what_the_host_tells_its_monitor(room: Room, host: Running) -> None:
    log = _monitor_log(room)
    before = _counted(log)
    target = host.targets[MLP.name, Face.GRPC]
    assert room.driver.measure(target, room.samples[MLP.name], CALLS, host.processes.cpu_flags).clean
    wait_for(lambda: _counted(log) - before >= CALLS.calls_max, "the host to tell of forty calls")
    assert all(WASTED in event["metrics"] for event in heard(log) if "metrics" in event)


def test_it_is_compiled_where_nothing_else_is_said(room: Room, host: Running) -> None:
    assert _says(host, "compiled", True)
    with INTERPRETED.other.start([MLP], room) as interpreted:
        assert _says(interpreted, "compiled", False)


def test_its_cpu_time_and_memory_are_seen(host: Running) -> None:
    assert host.processes.cpu_s() > 0
    assert host.processes.memory_bytes() > 10e6
    assert len(host.processes.pids()) == 2, "the host, and the nursery that it was forked from"


def _monitor_log(room: Room) -> Path:
    return room.scratch / Waypost().name / "monitor.log"


def _counted(log: Path) -> int:
    return sum(int(event["metrics"]["requests"]) for event in heard(log) if "metrics" in event)


def _says(running: Running, name: str, value: object) -> bool:
    """In the line of its log that says that it is ready."""
    lines = map(json.loads, (running.processes.directory / f"{MLP.name}-process/log").read_text().splitlines())
    (ready,) = [line for line in lines if line["event"] == "host_ready"]
    return bool(ready[name] == value)
