"""Several processes at one address: one host for its callers, its monitor and whoever starts and stops it."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mesh import tokens
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import END_S, RunningHost
from tests.conformance.test_uplink import Monitor, infer, with_monitor
from tests.waiting import until, wait_until
from waypost.errors import Unauthenticated, Unavailable

TWO = ("--processes", "2")
CONNECTIONS = 64  # that one of two processes gets none of them is as likely as 1 in 2**63


@pytest.fixture
def host(tmp_path: Path) -> Iterator[RunningHost]:
    with hosts.by_hand(models.affine(tmp_path / "m.onnx"), tmp_path / "log", *TWO) as host:
        yield host


def workers(host: RunningHost) -> list[psutil.Process]:
    return psutil.Process(host.process.pid).children()


def connect(host: RunningHost) -> http.client.HTTPConnection:
    if not host.address.startswith("unix:"):
        return http.client.HTTPConnection(host.address, timeout=10)
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(host.address.removeprefix("unix:"))
    return connection


def ask(connection: http.client.HTTPConnection, method: str = "GET", path: str = "/v2/health/ready") -> tuple[int, str]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def serves(host: RunningHost) -> bool:
    """Several times in a row: connections are dealt out to all processes."""
    for _ in range(16):
        try:
            with contextlib.closing(connect(host)) as connection:
                if ask(connection)[0] != 200:
                    return False
        except OSError:
            return False
    return True


@pytest.mark.parametrize("over", ["port", "unix"])
def test_all_processes_take_connections(tmp_path: Path, over: str) -> None:
    listen = "127.0.0.1:0" if over == "port" else f"unix:{tmp_path}/s"
    with hosts.by_hand(models.affine(tmp_path / "m.onnx"), tmp_path / "log", *TWO, listen=listen) as host:
        held = [connect(host) for _ in range(CONNECTIONS)]
        assert {ask(connection)[0] for connection in held} == {200}
        both = [len(process.net_connections("unix" if over == "unix" else "tcp")) for process in workers(host)]
        assert len(both) == 2
        assert min(both) > 4  # what each has without callers: listener, supervisor, its event loop
        for connection in held:
            connection.close()
        assert host.stop() == 0
    assert not (tmp_path / "s").exists()


def test_a_process_that_dies_is_replaced_and_the_other_serves_meanwhile(host: RunningHost) -> None:
    before = {process.pid for process in workers(host)}
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: serves(host) and len(workers(host)) == 2 and victim not in {p.pid for p in workers(host)})
    wait_until(lambda: host.log.read_text().count('"model_ready"'), lambda count: count == 3)
    assert serves(host)
    assert host.stop() == 0


def test_a_host_whose_processes_all_die_ends_with_a_note(tmp_path: Path) -> None:
    settings = {"model": str(models.affine(tmp_path / "m.onnx")), "processes": 2}
    with hosts.at_position(tmp_path, **settings) as host:
        hosts.wait_until_serving(host)
        for process in workers(host):
            process.send_signal(signal.SIGKILL)
        assert host.process.wait(END_S) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "PROCESS_ENDED"


def test_processes_do_not_outlive_the_one_that_keeps_them(host: RunningHost) -> None:
    left = workers(host)
    host.process.kill()
    host.process.wait(END_S)
    gone, alive = psutil.wait_procs(left, END_S)
    assert len(gone) == 2
    assert not alive
    with pytest.raises(ConnectionRefusedError):
        connect(host).connect()


def test_ctrl_c_ends_the_host_in_good_order(host: RunningHost) -> None:
    host.process.send_signal(signal.SIGINT)
    assert host.process.wait(END_S) == 0
    assert host.log.read_text().count('"draining"') == 2


def test_a_model_that_cannot_be_loaded_ends_the_host_as_ever(tmp_path: Path) -> None:
    with hosts.at_position(tmp_path, model=str(models.corrupt(tmp_path / "m.onnx")), processes=2) as host:
        assert host.process.wait(END_S) == 3
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "CORRUPT_MODEL"


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path: Path, host: RunningHost) -> None:
    settings = {"model": str(models.affine(tmp_path / "n.onnx")), "listen": host.address, "processes": 2}
    (tmp_path / "p").mkdir()
    with hosts.at_position(tmp_path / "p", **settings) as second:
        assert second.process.wait(END_S) == 1
    assert json.loads((tmp_path / "p" / "failure.json").read_text())["reason"] == "ADDRESS_IN_USE"


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_cannot_be_changed_by_hand(host: RunningHost, verb: str) -> None:
    with contextlib.closing(connect(host)) as connection:
        status, answer = ask(connection, "POST", f"/v2/repository/models/m/{verb}")
    assert (status, json.loads(answer)["reason"]) == (400, "SEVERAL_PROCESSES")


def test_grpcios_server_is_refused_beside_them(tmp_path: Path) -> None:
    settings = {"model": str(models.affine(tmp_path / "m.onnx")), "processes": 2, "grpcio_listen": "127.0.0.1:0"}
    with hosts.at_position(tmp_path, **settings) as host:
        assert host.process.wait(END_S) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "BAD_SETTING"


def test_the_monitor_sees_one_replica_with_the_counts_of_all(tmp_path: Path) -> None:
    old, new = tokens.new_signing_key(), tokens.new_signing_key()

    async def until_only(key: bytes, host: RunningHost, generation: str) -> None:
        """All processes have taken the orders: many connections in a row say so."""

        async def generations() -> set[str]:
            return {await infer(host, key) for _ in range(12)}

        assert await until(generations, not_yet=Unauthenticated) == {generation}

    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "READY" in monitor.states)
        assert monitor.states.count("READY") == 1
        for _ in range(20):
            await infer(host, old)
        await monitor.until(lambda: monitor.requests == 20)

        monitor.generation, monitor.jwks = 2, tokens.jwks(new)
        assert monitor.session is not None
        monitor.session.poke()
        await until_only(new, host, "2")

        speaker = min(process.pid for process in workers(host))
        os.kill(speaker, signal.SIGKILL)
        monitor.states.clear()
        await monitor.until(lambda: "READY" in monitor.states)  # the other one has dialled
        await until(lambda: host.log.read_text().count('"model_ready"'), lambda count: count == 3)
        await until_only(new, host, "2")  # the one that was started anew has been told, too

        monitor.requests = 0
        for _ in range(20):
            await until(lambda: infer(host, new), not_yet=Unavailable)  # the dead one's listener may have had it
        await monitor.until(lambda: monitor.requests >= 20)
        host.process.terminate()
        await monitor.until(lambda: monitor.states[-1] == "DRAINING")
        assert await asyncio.to_thread(host.process.wait, END_S) == 0

    with_monitor(tmp_path, old, scenario, processes=2)
