"""A server that cannot listen says who is in its way."""

import socket

import pytest

from mesh import serve
from waypost.errors import Precondition


def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        with pytest.raises(Precondition, match=r"taken by .*pid") as refused:
            serve.refuse_taken("127.0.0.1", holder.getsockname()[1])
        assert refused.value.reason == "ADDRESS_IN_USE"
