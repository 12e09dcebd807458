"""Where a server may listen, and what people are told when it may not."""

import pytest

from mesh import serve
from waypost.errors import Precondition


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert serve.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not serve.is_loopback(host)


def test_plaintext_beyond_loopback_needs_the_flag() -> None:
    with pytest.raises(Precondition) as refused:
        serve.refuse_insecure("0.0.0.0:7600", insecure=False, insecure_flag="--insecure")
    assert refused.value.reason == "INSECURE_ADDRESS"
    assert "--insecure" in refused.value.hint


@pytest.mark.parametrize("bad", ["7600", "host:", "host:port", "host:70000"])
def test_a_malformed_address_is_refused(bad: str) -> None:
    with pytest.raises(Precondition, match="is not an address"):
        serve.split_address(bad)


def test_an_error_is_rendered_with_its_next_step() -> None:
    assert serve.render(Precondition("X", "it failed", "mend it")) == "error: it failed\n\nhint: mend it\n"
