"""The stock HTTP client, unmodified, against a real host."""

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conformance.hosts import RunningHost

ONES = np.ones((2, 4), np.float32)


@pytest.fixture
def client(repository: RunningHost) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(repository.address) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health_is_told(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("affine")
    assert client.is_model_ready("affine", "1")
    assert not client.is_model_ready("nowhere")


def test_metadata_is_told(client: triton.InferenceServerClient) -> None:
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    model = client.get_model_metadata("mixed")
    assert model["inputs"][0] == {"name": "a", "datatype": "INT64", "shape": [-1, 3]}
    assert (model["name"], model["versions"]) == ("mixed", ["1"])


def test_the_repository_is_listed(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert {"name": "affine", "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_a_model_answers_in_every_form(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool | None
) -> None:
    outputs = None if binary_out is None else [triton.InferRequestedOutput("y", binary_data=binary_out)]
    result = client.infer("affine", [tensor("x", ONES, "FP32", binary=binary_in)], outputs=outputs, request_id="42")
    assert result.as_numpy("y").tolist() == (2 * ONES + 1).tolist()
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("affine", "1", "42")


def test_binary_and_json_inputs_mix(client: triton.InferenceServerClient) -> None:
    inputs = [
        tensor("a", np.arange(3).reshape(1, 3), "INT64"),
        tensor("b", np.full(3, 0.5), "FP64", binary=False),
        tensor("flag", np.array([True]), "BOOL"),
    ]
    outputs = [triton.InferRequestedOutput("sum", binary_data=False), triton.InferRequestedOutput("negated")]
    result = client.infer("mixed", inputs, outputs=outputs)
    assert result.as_numpy("sum").tolist() == [[0.5, 1.5, 2.5]]
    assert result.as_numpy("negated").tolist() == [False]


@pytest.mark.parametrize("binary", [True, False])
def test_text_goes_both_ways(client: triton.InferenceServerClient, binary: bool) -> None:
    values = np.array([b"tower", "grüße".encode(), b""], dtype=object)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer("text", [tensor("x", values, "BYTES", binary=binary)], outputs=outputs)
    expected = values.tolist() if binary else [value.decode() for value in values]
    assert result.as_numpy("y").tolist() == expected


def test_half_precision_goes_both_ways(client: triton.InferenceServerClient) -> None:
    values = np.array([[0.5, -2.0]], np.float16)
    assert client.infer("half", [tensor("x", values, "FP16")]).as_numpy("y").tolist() == values.tolist()


def test_half_precision_has_no_json_form(client: triton.InferenceServerClient) -> None:
    outputs = [triton.InferRequestedOutput("y", binary_data=False)]
    with pytest.raises(InferenceServerException) as refused:
        client.infer("half", [tensor("x", np.zeros((1, 2), np.float16), "FP16")], outputs=outputs)
    assert "no JSON form" in refused.value.message()


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_coding", [None, "gzip", "deflate"])
def test_bodies_may_be_compressed(
    client: triton.InferenceServerClient, request_coding: str | None, response_coding: str | None
) -> None:
    values = np.arange(1000, dtype=np.float32)
    result = client.infer(
        "large",
        [tensor("x", values, "FP32")],
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    assert np.array_equal(result.as_numpy("y"), values)


def test_large_tensors_go_both_ways(client: triton.InferenceServerClient) -> None:
    values = np.arange(4 << 20, dtype=np.float32)
    assert np.array_equal(client.infer("large", [tensor("x", values, "FP32")]).as_numpy("y"), values)


@pytest.mark.parametrize(
    ("model", "version", "array", "datatype", "words"),
    [
        ("nowhere", "", ONES, "FP32", "nowhere"),
        ("affine", "2", ONES, "FP32", "version '2'"),
        ("affine", "", ONES.astype(np.float64), "FP64", "FP64 was sent"),
        ("affine", "", np.ones((2, 5), np.float32), "FP32", "[2, 5] was sent"),
    ],
)
def test_mistakes_are_told_in_words(
    client: triton.InferenceServerClient, model: str, version: str, array: np.ndarray, datatype: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, [tensor("x", array, datatype)], model_version=version)
    assert words in refused.value.message()


def test_a_host_by_hand_loads_and_unloads_what_its_directory_holds(client: triton.InferenceServerClient) -> None:
    client.unload_model("spare")
    assert not client.is_model_ready("spare")
    client.load_model("spare")
    assert client.is_model_ready("spare")
    with pytest.raises(InferenceServerException) as refused:
        client.load_model("nowhere")
    assert "nowhere" in refused.value.message()


def test_a_name_may_need_quoting(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.get_model_metadata("b c?")
    assert "'b c?'" in refused.value.message()


def test_calls_may_overlap(repository: RunningHost) -> None:
    with triton.InferenceServerClient(repository.address, concurrency=4) as client:
        calls = [client.async_infer("affine", [tensor("x", ONES * n, "FP32")]) for n in range(8)]
        assert [call.get_result().as_numpy("y")[0, 0] for call in calls] == [2.0 * n + 1 for n in range(8)]
