"""What stock clients ask beside inference: configuration, statistics, repository, settings, reflection."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from mesh import tokens
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.conformance.test_process import place, token

ONES = np.ones((2, 4), np.float32)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, repository: RunningHost) -> Iterator[Any]:
    """tritonclient's two clients have the same methods. Over HTTP all is JSON, over gRPC as_json makes it so."""
    library = {"grpc": triton_grpc, "http": triton_http}[request.param]
    with library.InferenceServerClient(repository.address) as client:
        yield client


def is_http(client: Any) -> bool:
    return isinstance(client, triton_http.InferenceServerClient)


def plain(client: Any) -> dict[str, bool]:
    """Keywords for an answer in plain values."""
    return {} if is_http(client) else {"as_json": True}


def infer(client: Any, model: str, array: np.ndarray) -> Any:
    library = triton_http if is_http(client) else triton_grpc
    tensor = library.InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor])


def test_a_models_configuration_is_told(client: Any) -> None:
    told = client.get_model_config("affine", **plain(client))
    config = told if is_http(client) else told["config"]
    assert config["name"] == "affine"
    (tensor,) = config["input"]
    assert (tensor["name"], tensor["data_type"]) == ("x", "TYPE_FP32")


def test_statistics_rise_with_what_was_called(client: Any) -> None:
    def successes() -> int:
        told = client.get_inference_statistics("affine", **plain(client))
        (stats,) = told["model_stats"]
        return int(stats["inference_stats"]["success"].get("count", 0))

    infer(client, "affine", ONES)
    before = successes()
    for _ in range(3):
        infer(client, "affine", ONES)
    assert successes() == before + 3
    everybody = client.get_inference_statistics(**plain(client))["model_stats"]
    assert {"affine", "mixed"} <= {stats["name"] for stats in everybody}


def test_tracing_is_told_to_be_off_and_stays_so(client: Any) -> None:
    assert client.get_trace_settings(**plain(client))
    with pytest.raises(InferenceServerException):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


def test_log_settings_are_told(client: Any) -> None:
    assert client.get_log_settings(**plain(client))


def test_there_is_no_shared_memory(client: Any) -> None:
    for status in (client.get_system_shared_memory_status, client.get_cuda_shared_memory_status):
        told = status(**plain(client))
        assert not (told if is_http(client) else told.get("regions"))
    with pytest.raises(InferenceServerException):
        client.register_system_shared_memory("a", "/a", 64)
    client.unregister_system_shared_memory()


def test_nobody_loads_a_configuration_of_his_own(client: Any) -> None:
    with pytest.raises(InferenceServerException):
        client.load_model("spare", config="{}")
    assert client.is_model_ready("spare")


@pytest.mark.parametrize("library", [triton_grpc, triton_http])
def test_at_a_position_nobody_loads_or_unloads(tmp_path: Path, library: Any) -> None:
    key = tokens.new_signing_key()
    with hosts.at_position(tmp_path, **{**place(tmp_path, key), "listen": "127.0.0.1:0"}) as host:
        address = hosts.bound_address(host)
        headers = {"authorization": f"Bearer {token(key)}"}
        with library.InferenceServerClient(address) as client:
            for call in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException) as refused:
                    call("forecast", headers=dict(headers))
                assert refused.value.status() in ("StatusCode.PERMISSION_DENIED", "403")


def test_a_stream_with_many_requests_in_flight_answers_all_in_order(repository: RunningHost) -> None:
    answers: list[tuple[Any, Any]] = []
    done = concurrent.futures.Future[None]()

    def on_answer(result: Any, error: Any) -> None:
        answers.append((result, error))
        if len(answers) == 20:
            done.set_result(None)

    with triton_grpc.InferenceServerClient(repository.address) as client:
        client.start_stream(on_answer)
        for number in range(20):
            columns = 5 if number == 7 else 4  # one that is wrong
            tensor = triton_grpc.InferInput("x", [1, columns], "FP32")
            tensor.set_data_from_numpy(np.full((1, columns), number, np.float32))
            client.async_stream_infer("affine", [tensor], request_id=str(number))
        done.result(20)
        client.stop_stream()
    for number, (result, error) in enumerate(answers):
        if number == 7:
            assert error is not None
        else:
            assert (result.get_response().id, result.as_numpy("y")[0, 0]) == (str(number), 2.0 * number + 1)


def test_reflection_names_the_services_and_resolves_them(grpc_address: str) -> None:
    with grpc.insecure_channel(grpc_address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
        found = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        methods = {method.name for service in found.service for method in service.method}
        assert {"ModelInfer", "ModelStreamInfer", "ServerLive"} <= methods
