"""Requests as they go over the wire, in the three forms of the Open Inference Protocol.

Every server gets the same bytes: FastAPI and the other plain HTTP peers read the protocol's JSON as well. A request
for HTTP is written out with its headers, so the driver sends it as it is.
"""

import json
from collections.abc import Mapping
from enum import StrEnum

from tests.bench.models import INPUT, Floats
from waypost.api.inference.v1 import inference_pb2 as oip


class Face(StrEnum):
    """A way to call a server."""

    GRPC = "gRPC"
    JSON = "HTTP JSON"
    BINARY = "HTTP binary"

    @property
    def over_http(self) -> bool:
        return self is not Face.GRPC

    @property
    def reply_form(self) -> str:
        """What the driver calls the form of its answers (driver/answers.h)."""
        return {Face.GRPC: "message", Face.JSON: "json", Face.BINARY: "tail"}[self]


def grpc_message(model: str, id_: str, x: Floats) -> bytes:
    request = oip.ModelInferRequest(model_name=model, id=id_, raw_input_contents=[x.tobytes()])
    request.inputs.add(name=INPUT, datatype="FP32", shape=x.shape)
    return request.SerializeToString()


def http_request(face: Face, path: str, headers: Mapping[str, str], id_: str, x: Floats) -> bytes:
    """A whole HTTP/1.1 request."""
    body, own = _json_body(id_, x) if face is Face.JSON else _binary_body(id_, x)
    lines = {"host": "localhost", **own, "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _json_body(id_: str, x: Floats) -> tuple[bytes, dict[str, str]]:
    data = [round(float(value), 4) for value in x.ravel()]  # as many digits as the inputs have
    body = {"id": id_, "inputs": [{"name": INPUT, "datatype": "FP32", "shape": x.shape, "data": data}]}
    return json.dumps(body).encode(), {"content-type": "application/json"}


def _binary_body(id_: str, x: Floats) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": INPUT, "datatype": "FP32", "shape": x.shape, "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"id": id_, "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return head + x.tobytes(), headers
