"""Addresses: whose they are, and who may open them."""

import socket
from pathlib import Path

import pytest

from inference_host import server
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
