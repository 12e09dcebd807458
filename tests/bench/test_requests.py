"""What is sent says the same in all forms, and is what it is called."""

import json

import numpy as np

from tests.bench.models import MLP, TS
from tests.bench.requests import Face, grpc_message, http_request
from waypost.api.inference.v1 import inference_pb2 as oip

X = np.linspace(0, 1, 16, dtype=np.float32).round(4).reshape(1, 16)


def test_a_grpc_message_carries_raw_contents() -> None:
    request = oip.ModelInferRequest.FromString(grpc_message(MLP.name, "7", X))
    assert (request.model_name, request.id, list(request.inputs[0].shape)) == ("mlp", "7", [1, 16])
    assert request.raw_input_contents[0] == X.tobytes()


def test_json_carries_the_same_numbers() -> None:
    head, _, body = http_request(Face.JSON, "/infer", {"authorization": "Bearer t"}, "7", X).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /infer HTTP/1.1\r\n")
    assert b"authorization: Bearer t" in head
    assert f"content-length: {len(body)}".encode() in head
    tensor = json.loads(body)["inputs"][0]
    assert np.array_equal(np.array(tensor["data"], np.float32).reshape(tensor["shape"]), X)


def test_the_binary_form_ends_with_the_bytes_of_the_tensor() -> None:
    head, _, body = http_request(Face.BINARY, "/infer", {}, "7", X).partition(b"\r\n\r\n")
    json_bytes = int(head.split(b"inference-header-content-length: ")[1].split(b"\r\n")[0])
    assert json.loads(body[:json_bytes])["inputs"][0]["parameters"]["binary_data_size"] == X.nbytes
    assert body[json_bytes:] == X.tobytes()


def test_the_graphs_are_seeded() -> None:
    assert TS.graph() == TS.graph()
