"""Who is refused because others wait already hears when to come back, in the words of his own protocol."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from tritonclient.utils import InferenceServerException

from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.rpc.status import DETAILS_KEY

CALLS = 24  # at once: some run, one waits, the others are refused
PATIENCE_S = 60.0
IMAGE = np.ones((1, 256, 256), np.float32)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """A host in which one row may wait."""
    directory: Path = tmp_path_factory.mktemp("busy")
    models.slow(directory / "slow.onnx")
    flags = ("--queue-rows-max", "1")
    with hosts.by_hand(directory / "slow.onnx", directory / "log", *flags, front="grpcio") as host:
        yield host
        assert host.stop() == 0


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_grpc_tells_it_as_google_rpc_does(busy: RunningHost, front: str) -> None:
    request = oip.ModelInferRequest(model_name="slow", raw_input_contents=[IMAGE.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=IMAGE.shape)
    with grpc.insecure_channel(busy.grpc(front)) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [infer.future(request.SerializeToString(), timeout=PATIENCE_S) for _ in range(CALLS)]
        refused = [call for call in calls if call.exception() is not None]
        assert refused
        for call in refused:
            status = Status.FromString(dict(call.trailing_metadata())[DETAILS_KEY])
            info, retry = ErrorInfo(), RetryInfo()
            assert any(detail.Unpack(info) for detail in status.details)
            assert any(detail.Unpack(retry) for detail in status.details)
            assert (call.code(), info.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_FULL")
            assert retry.retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_a_stock_client_reads_the_error_all_the_same(busy: RunningHost, front: str) -> None:
    tensor = triton.InferInput("x", list(IMAGE.shape), "FP32")
    tensor.set_data_from_numpy(IMAGE)

    def ask(client: triton.InferenceServerClient) -> str:
        try:
            client.infer("slow", [tensor], client_timeout=PATIENCE_S)
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        return "answered"

    with triton.InferenceServerClient(busy.grpc(front)) as client, ThreadPoolExecutor(CALLS) as pool:
        heard = {each.split(":")[0] for each in pool.map(ask, [client] * CALLS)}
    assert heard == {"answered", "StatusCode.UNAVAILABLE"}


def test_http_tells_it_in_whole_seconds(busy: RunningHost) -> None:
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": list(IMAGE.shape),
        "parameters": {"binary_data_size": IMAGE.nbytes},
    }
    head = json.dumps({"inputs": [tensor]}).encode()

    def ask(_: int) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(busy.address, timeout=PATIENCE_S)
        headers = {"Inference-Header-Content-Length": str(len(head))}
        connection.request("POST", "/v2/models/slow/infer", head + IMAGE.tobytes(), headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.getheader("retry-after")

    with ThreadPoolExecutor(CALLS) as pool:
        answers = set(pool.map(ask, range(CALLS)))
    refused = {retry_after for status, retry_after in answers if status == 503}
    assert refused
    assert all(retry_after is not None and int(retry_after) >= 1 for retry_after in refused)
