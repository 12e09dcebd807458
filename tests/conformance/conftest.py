import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from waypost.api.inference.v1 import inference_pb2 as oip

NEIGHBOUR_S = 10.0
"""For one of the neighbour's calls, on a busy machine."""


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


@pytest.fixture(scope="module")
def neighbour(repository: RunningHost) -> Iterator[None]:
    """Calls without a pause until the last test of a file is over; each of his calls must be answered."""
    over, answered, failed = threading.Event(), 0, list[grpc.RpcError]()

    def live() -> None:
        nonlocal answered
        with grpc.insecure_channel(repository.address) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            request = oip.ModelInferRequest(model_name="affine", raw_input_contents=[np.ones(4, "<f4").tobytes()])
            request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
            while not over.is_set():
                try:
                    infer(request.SerializeToString(), timeout=NEIGHBOUR_S)
                    answered += 1
                except grpc.RpcError as error:
                    failed.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    yield
    over.set()
    thread.join()
    assert answered > 100
    assert not failed
