"""The stock gRPC client, unmodified, sync and asyncio, against a real host."""

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(grpc_address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(grpc_address) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, library: Any = triton) -> Any:
    made = library.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


ONES = np.ones((2, 4), np.float32)


def test_health_is_told(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("affine")
    assert client.is_model_ready("affine", "1")


def test_metadata_is_told(client: triton.InferenceServerClient) -> None:
    server = client.get_server_metadata()
    assert server.name == "waypost"
    assert "binary_tensor_data" in server.extensions
    model = client.get_model_metadata("mixed", as_json=True)
    assert (model["name"], model["versions"], model["platform"]) == ("mixed", ["1"], "onnxruntime_onnx")
    assert model["inputs"][0] == {"name": "a", "datatype": "INT64", "shape": ["-1", "3"]}
    assert [output["name"] for output in model["outputs"]] == ["sum", "negated", "a_again"]


def test_the_repository_is_listed(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert {(model.name, model.version, model.state) for model in index.models} >= {("affine", "1", "READY")}


def test_a_model_answers(client: triton.InferenceServerClient) -> None:
    result = client.infer("affine", [tensor("x", ONES, "FP32")], request_id="42")
    assert result.as_numpy("y").tolist() == (2 * ONES + 1).tolist()
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("affine", "1", "42")


def test_several_inputs_of_several_datatypes(client: triton.InferenceServerClient) -> None:
    a, b, flag = np.arange(3).reshape(1, 3), np.full(3, 0.5), np.array([True])
    inputs = [tensor("flag", flag, "BOOL"), tensor("b", b, "FP64"), tensor("a", a, "INT64")]
    result = client.infer("mixed", inputs)
    assert result.as_numpy("sum").tolist() == [[0.5, 1.5, 2.5]]
    assert result.as_numpy("negated").tolist() == [False]
    assert result.as_numpy("a_again").tolist() == a.tolist()


def test_only_the_outputs_asked_for_come_back(client: triton.InferenceServerClient) -> None:
    inputs = [
        tensor("a", np.zeros((1, 3), np.int64), "INT64"),
        tensor("b", np.zeros(3), "FP64"),
        tensor("flag", np.array([False]), "BOOL"),
    ]
    result = client.infer("mixed", inputs, outputs=[triton.InferRequestedOutput("negated")])
    assert result.as_numpy("negated").tolist() == [True]
    assert result.as_numpy("sum") is None


def test_text_goes_both_ways(client: triton.InferenceServerClient) -> None:
    values = np.array([b"tower", "grüße".encode(), b""], dtype=object)
    assert client.infer("text", [tensor("x", values, "BYTES")]).as_numpy("y").tolist() == values.tolist()


def test_half_precision_goes_both_ways(client: triton.InferenceServerClient) -> None:
    values = np.array([[0.5, -2.0]], np.float16)
    found = client.infer("half", [tensor("x", values, "FP16")]).as_numpy("y")
    assert found.dtype == np.float16
    assert found.tolist() == values.tolist()


def test_large_tensors_go_both_ways(client: triton.InferenceServerClient) -> None:
    values = np.arange(4 << 20, dtype=np.float32)  # 16 MiB: beyond grpc's own default
    assert np.array_equal(client.infer("large", [tensor("x", values, "FP32")]).as_numpy("y"), values)


def test_compressed_requests_are_read(client: triton.InferenceServerClient) -> None:
    for algorithm in ("gzip", "deflate"):
        result = client.infer("affine", [tensor("x", ONES, "FP32")], compression_algorithm=algorithm)
        assert result.as_numpy("y")[0, 0] == 3.0


@pytest.mark.parametrize(
    ("model", "version", "inputs", "code"),
    [
        ("nowhere", "", [tensor("x", ONES, "FP32")], "NOT_FOUND"),
        ("affine", "2", [tensor("x", ONES, "FP32")], "NOT_FOUND"),
        ("affine", "", [tensor("z", ONES, "FP32")], "INVALID_ARGUMENT"),
        ("affine", "", [tensor("x", ONES.astype(np.float64), "FP64")], "INVALID_ARGUMENT"),
        ("affine", "", [tensor("x", np.ones((2, 5), np.float32), "FP32")], "INVALID_ARGUMENT"),
        ("affine", "", [], "INVALID_ARGUMENT"),
        ("text", "", [tensor("x", np.array([b"\xff"], dtype=object), "BYTES")], "INVALID_ARGUMENT"),
    ],
)
def test_mistakes_have_exact_codes(
    client: triton.InferenceServerClient, model: str, version: str, inputs: list[Any], code: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, inputs, model_version=version)
    assert refused.value.status() == f"StatusCode.{code}"
    assert refused.value.message()


def test_metadata_of_nothing_is_not_found(client: triton.InferenceServerClient) -> None:
    for call in (client.get_model_metadata, client.is_model_ready):
        with pytest.raises(InferenceServerException) as refused:
            call("nowhere")
        assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_a_host_by_hand_loads_and_unloads_what_its_directory_holds(client: triton.InferenceServerClient) -> None:
    client.unload_model("spare")
    assert not client.is_model_ready("spare")
    client.load_model("spare")
    assert client.is_model_ready("spare")
    with pytest.raises(InferenceServerException) as refused:
        client.load_model("nowhere")
    assert refused.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("patience", [{"client_timeout": 0.02}, {"timeout": 20_000}])
def test_a_call_that_cannot_be_answered_in_time_is_not_answered(
    client: triton.InferenceServerClient, patience: dict[str, Any]
) -> None:
    """UNAVAILABLE, where that is known on arrival: nothing was executed, and another replica may be quicker."""
    image = np.ones((8, 256, 256), np.float32)
    with pytest.raises(InferenceServerException) as refused:
        client.infer("slow", [tensor("x", image, "FP32")], **patience)
    assert str(refused.value.status()) in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}


def test_a_cancelled_call_ends(client: triton.InferenceServerClient) -> None:
    ended: queue.Queue[Any] = queue.Queue()
    image = np.ones((8, 256, 256), np.float32)
    call = client.async_infer("slow", [tensor("x", image, "FP32")], lambda result, error: ended.put(error))
    call.cancel()
    assert ended.get(timeout=10).status() == "StatusCode.CANCELLED"


def test_a_stream_lives_on_after_an_error(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for model in ("affine", "nowhere", "affine"):
        client.async_stream_infer(model, [tensor("x", ONES, "FP32")])
    found = [answers.get(timeout=10) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in found] == [True, False, True]
    assert "nowhere" in found[1][1].message()
    assert found[2][0].as_numpy("y")[0, 0] == 3.0


def test_a_stream_ends_with_a_status_for_clients_that_want_it(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"})
    client.async_stream_infer("nowhere", [tensor("x", ONES, "FP32")])
    assert answers.get(timeout=10)[1].status() == "StatusCode.NOT_FOUND"
    client.stop_stream()


def test_the_last_answer_of_a_stream_is_marked_where_asked(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("affine", [tensor("x", ONES, "FP32")], enable_empty_final_response=True)
    result, error = answers.get(timeout=10)
    client.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param


def test_the_asyncio_client_works_too(grpc_address: str) -> None:
    async def scenario() -> None:
        async with triton_aio.InferenceServerClient(grpc_address) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("affine")
            assert (await client.get_model_metadata("affine")).inputs[0].datatype == "FP32"
            calls = [client.infer("affine", [tensor("x", ONES * n, "FP32", triton_aio)]) for n in range(8)]
            results = await asyncio.gather(*calls)
            assert [result.as_numpy("y")[0, 0] for result in results] == [2.0 * n + 1 for n in range(8)]
            with pytest.raises(InferenceServerException) as refused:
                await client.infer("nowhere", [tensor("x", ONES, "FP32", triton_aio)])
            assert refused.value.status() == "StatusCode.NOT_FOUND"

    asyncio.run(scenario())
