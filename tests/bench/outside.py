"""Answers checked by stock clients, before anything is measured: grpcio's, and Python's own for HTTP.

The driver checks every answer too; but driver and reference were written together, and a fault of both would hide.
"""

import http.client
import json
from collections.abc import Sequence

import grpc
import numpy as np

from tests.bench.load import Target
from tests.bench.models import Floats, Sample
from tests.bench.requests import Face, grpc_message, http_request
from waypost.api.inference.v1 import inference_pb2 as oip

METHOD = "/inference.GRPCInferenceService/ModelInfer"
WITHIN_S = 20.0
TOLERANCE = 1e-4


class WrongAnswer(Exception):
    """A server answered something else than onnxruntime does."""


def check(target: Target, samples: Sequence[Sample]) -> None:
    """Raises: WrongAnswer; grpc.RpcError, OSError where there is none."""
    for number, sample in enumerate(samples):
        id_ = f"outside-{number}"
        found = _over_http(target, id_, sample.x) if target.face.over_http else _over_grpc(target, id_, sample.x)
        if found.shape != sample.y.ravel().shape or not np.allclose(found, sample.y.ravel(), TOLERANCE, TOLERANCE):
            raise WrongAnswer(f"{target.model} over {target.face}: {found[:4]}... instead of {sample.y.ravel()[:4]}...")


def _over_grpc(target: Target, id_: str, x: Floats) -> Floats:
    with grpc.insecure_channel(target.address) as channel:
        infer = channel.unary_unary(METHOD, lambda message: message, oip.ModelInferResponse.FromString)
        request = grpc_message(target.model, id_, x)
        response = infer(request, timeout=WITHIN_S, metadata=tuple(target.headers.items()), wait_for_ready=True)
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], np.float32)
    return np.array(response.outputs[0].contents.fp32_contents, np.float32)


def _over_http(target: Target, id_: str, x: Floats) -> Floats:
    head, _, body = http_request(target.face, target.path, target.headers, id_, x).partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    connection = http.client.HTTPConnection(target.address, timeout=WITHIN_S)
    try:
        connection.request("POST", target.path, body, headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise WrongAnswer(f"{target.model} over {target.face}: {response.status} {content[:300]!r}")
    if target.face is Face.JSON:
        return np.array(json.loads(content)["outputs"][0]["data"], np.float32).ravel()
    return np.frombuffer(content[int(response.headers["inference-header-content-length"]) :], np.float32)
