"""Addresses: whose they are, and who may open them."""

import asyncio
import socket
from pathlib import Path

import pytest

from inference_host.transport import server
from waypost.errors import Precondition


def test_a_socket_file_is_private_and_replaced_when_its_owner_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "host.sock"
    first = server.bound(f"unix:{path}")
    first.listen()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Precondition) as refused:
        server.bound(f"unix:{path}")
    assert refused.value.reason == "ADDRESS_IN_USE"
    first.close()
    server.bound(f"unix:{path}").close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(Precondition, match="in use"):
        server.bound(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_port_that_is_taken_names_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(Precondition):
            server.bound(f"127.0.0.1:{holder.getsockname()[1]}")


def test_small_answers_leave_at_once() -> None:
    """Nagle's algorithm would keep an answer until the client has acknowledged the one before: up to 40 ms."""

    class Taken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            taken: socket.socket = transport.get_extra_info("socket")
            delays.set_result(not taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    delays: asyncio.Future[bool]

    async def main() -> bool:
        nonlocal delays
        delays = asyncio.get_running_loop().create_future()
        taker = server.bound("127.0.0.1:0")
        listener = await asyncio.get_running_loop().create_server(Taken, sock=taker)
        async with listener:
            _, writer = await asyncio.open_connection(*taker.getsockname())
            try:
                return await delays
            finally:
                writer.close()

    assert not asyncio.run(main())
