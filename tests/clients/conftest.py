"""Stock clients in environments of their own, against a host that a person started and one at a position."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh import clock, tokens
from tests import models
from tests.conformance import hosts
from tests.conformance.test_process import place as settings_of_a_position

SUITE_S = 1800


@dataclass(frozen=True)
class Place:
    """Where a client calls, and with what."""

    address: str
    affine: str
    """Name of the model that answers twice its input and one."""
    token: str = ""
    """Empty: none is needed."""

    @property
    def by_hand(self) -> bool:
        """Serves `text` and `half` as well, which say back what they hear, and `slow`."""
        return not self.token


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("models")
    models.affine(directory / "affine.onnx")
    models.echo(directory / "text.onnx", "BYTES")
    models.echo(directory / "half.onnx", "FP16", ["n", 2])
    models.slow(directory / "slow.onnx")
    with hosts.by_hand(directory, directory / "log") as host:
        yield Place(host.address, "affine")
        assert host.stop() == 0


@pytest.fixture(scope="session")
def at_a_position(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory, key = tmp_path_factory.mktemp("position"), tokens.new_signing_key()
    with hosts.at_position(directory, **{**settings_of_a_position(directory, key), "listen": "127.0.0.1:0"}) as host:
        token = tokens.mint(key, audience="uid-1", subject="agent", client="test", now=clock.now(), lifetime_s=SUITE_S)
        yield Place(hosts.bound_address(host), "tower-7", token)
        assert host.stop() == 0


@pytest.fixture(params=["by_hand", "at_a_position"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
