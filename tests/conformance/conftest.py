from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """One host, started by hand, that serves a directory of models."""
    directory: Path = tmp_path_factory.mktemp("models")
    models.affine(directory / "affine.onnx")
    models.affine(directory / "spare.onnx")
    models.mixed(directory / "mixed.onnx")
    models.slow(directory / "slow.onnx")
    models.echo(directory / "text.onnx", "BYTES")
    models.echo(directory / "half.onnx", "FP16", ["n", 2])
    models.echo(directory / "large.onnx", "FP32", ["n"])
    models.echo(directory / "wide.onnx", "FP32", [1, "n"])
    with hosts.by_hand(directory, directory / "log", front="grpcio") as host:
        yield host
        assert host.stop() == 0


@pytest.fixture(params=hosts.FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    """What serves gRPC."""
    name: str = request.param
    return name


@pytest.fixture
def grpc_address(repository: RunningHost, front: str) -> str:
    """Of the repository, once by each front end."""
    return repository.grpc(front)
