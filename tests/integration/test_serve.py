"""A server that cannot listen says what is in its way."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from mesh import serve
from mesh.identity import Identity
from waypost.errors import Precondition


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
