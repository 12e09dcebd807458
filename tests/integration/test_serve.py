"""A server that cannot listen says what is in its way; one that listens may change its certificate."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from control_plane.identity.authority import Authority
from edge_agent.identity.enrol import fetch_chain
from mesh import clock, serve
from mesh.identity import Identity, LiveIdentity
from waypost.errors import Precondition
from waypost.rpc import Tls, open_aio_channel


def listen_at(path: Path) -> None:
    async def scenario() -> None:
        server = serve.grpc_server()
        serve.listen(server, f"unix:{path}", Identity.local())
        await server.start()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        await server.stop(None)

    asyncio.run(scenario())


def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        with pytest.raises(Precondition, match=r"taken by .*pid") as refused:
            serve.refuse_taken("127.0.0.1", holder.getsockname()[1])
        assert refused.value.reason == "ADDRESS_IN_USE"


def test_two_servers_share_no_port_though_both_have_found_it_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "refuse_taken", lambda host, port: None)

    async def scenario() -> None:
        first, second = serve.grpc_server(), serve.grpc_server()
        address = serve.listen(first, "127.0.0.1:0", Identity.local())
        await first.start()
        try:
            with pytest.raises(Precondition, match="is taken") as refused:
                serve.listen(second, address, Identity.local())
            assert refused.value.reason == "ADDRESS_IN_USE"
        finally:
            await first.stop(None)

    asyncio.run(scenario())


def test_an_address_of_another_machine_is_not_said_to_be_taken() -> None:
    with pytest.raises(Precondition, match=r"cannot listen on 192\.0\.2\.1:7600: ") as refused:
        serve.refuse_taken("192.0.2.1", 7600)
    assert refused.value.reason == "BAD_ADDRESS"


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    listen_at(path)


def test_the_socket_of_a_living_process_is_not_taken_from_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        for _ in range(3):  # soon its backlog is full
            with pytest.raises(Precondition, match="is taken") as refused:
                listen_at(path)
            assert refused.value.reason == "ADDRESS_IN_USE"
        assert path.is_socket()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 120, "is longer than 107 bytes"),
        ("missing/s", "its directory does not exist"),
        ("file", "something that is no socket has this name"),
        ("file/s", "its directory does not exist"),
    ],
)
def test_a_path_that_can_be_no_socket_is_refused_with_the_reason(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(Precondition, match=why) as refused:
        listen_at(tmp_path / name)
    assert (refused.value.reason, bool(refused.value.hint)) == ("BAD_ADDRESS", True)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_certificate_is_changed_while_the_server_runs_and_calls_go_on(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=clock.now())
    live = LiveIdentity(authority.identity(["127.0.0.1"], now=clock.now()))

    async def scenario() -> None:
        server = serve.grpc_server()
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        address = serve.listen(server, "127.0.0.1:0", live)
        await server.start()
        async with open_aio_channel(address, tls=Tls(roots=authority.roots)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest())
            before = await asyncio.to_thread(fetch_chain, *serve.split_address(address))
            live.current = authority.identity(["127.0.0.1", "another"], now=clock.now())
            after = await asyncio.to_thread(fetch_chain, *serve.split_address(address))
            again = await asyncio.to_thread(fetch_chain, *serve.split_address(address))
            await stub.Check(health_pb2.HealthCheckRequest())
        await server.stop(None)
        assert before[0] != after[0] == again[0]
        assert before[1] == after[1]  # the root

    asyncio.run(scenario())
