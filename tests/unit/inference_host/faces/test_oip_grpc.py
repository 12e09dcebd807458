"""What stock gRPC clients are answered, without a wire."""

import asyncio
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message

from inference_host.faces.oip_grpc import SERVICE, Face
from inference_host.transport.methods import Caller
from inference_host.values.signature import Signature, TensorSpec
from tests.unit.inference_host import planes
from tests.unit.inference_host.callers import Told, ask, begin, over_grpc
from tests.unit.inference_host.planes import BY_HAND, FULL_NAME, PLACE, READY, Waiting, served
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.inference.v1 import model_config_pb2 as configs
from waypost.api.inference.v1 import repository_pb2 as repository
from waypost.api.inference.v1 import settings_pb2 as settings
from waypost.api.inference.v1 import shared_memory_pb2 as memory
from waypost.api.inference.v1 import statistics_pb2 as statistics
from waypost.errors import DeadlineExceeded, Denied, Internal, Invalid, NotFound, Unsupported


def infer(model: str = "forecast", **fields: Any) -> oip.ModelInferRequest:
    values = np.array([[1, 2]], np.float32)
    return oip.ModelInferRequest(
        model_name=model,
        id="7",
        inputs=[oip.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])],
        raw_input_contents=[values.tobytes()],
        **fields,
    )


def answer(name: str, request: Message | bytes, **world: Any) -> Told:
    """What one call of a fresh face is told."""
    told: Told = over_grpc(lambda face: ask(face.methods(), name, request), **world)
    return told


def test_every_method_of_the_service_is_there() -> None:
    async def scenario(face: Face) -> set[str]:
        return {method.path for method in face.methods()}

    declared = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert over_grpc(scenario) == {f"/{SERVICE}/{name}" for name in declared}


def test_a_model_answers_and_says_who_it_is_and_how_long_it_took() -> None:
    told = answer("ModelInfer", infer())
    response = oip.ModelInferResponse.FromString(told.message)
    assert (response.model_name, response.model_version, response.id) == ("forecast", "7", "7")
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [2.0, 4.0]
    trailers = dict(told.trailers)
    assert (trailers["waypost-model-version"], trailers["waypost-replica"]) == (FULL_NAME, PLACE.replica)
    phases = [phase.split(";dur=") for phase in trailers["server-timing"].split(", ")]
    assert [name for name, _ in phases] == ["queue", "batch", "compute", "total"]
    assert all(float(milliseconds) >= 0 for _, milliseconds in phases)


@pytest.mark.parametrize(
    ("request_bytes", "error"),
    [
        (infer("nowhere").SerializeToString(), NotFound),
        (infer(outputs=[oip.InferRequestedOutputTensor(name="z")]).SerializeToString(), Invalid),
        (b"\xff", Invalid),
    ],
)
def test_what_is_wrong_is_told_once(request_bytes: bytes, error: type[Exception]) -> None:
    assert isinstance(answer("ModelInfer", request_bytes).error, error)


def test_an_answer_that_cannot_be_written_is_a_fault_of_ours_and_told() -> None:
    name = "\ud800"  # half a character: no text of protobuf
    signature = Signature(planes.SIGNATURE.inputs, (TensorSpec(name, "FP32", (-1, 2)),))
    model = planes.served(lambda inputs: {name: inputs["x"]}, signature=signature)
    assert isinstance(answer("ModelInfer", infer(), model=model).error, Internal)


def test_a_deadline_that_has_passed_is_told() -> None:
    async def scenario(face: Face) -> Told:
        return await ask(face.methods(), "ModelInfer", infer(), Caller(deadline=0.0))

    assert isinstance(over_grpc(scenario).error, DeadlineExceeded)


def test_a_call_that_was_withdrawn_is_not_answered() -> None:
    model = Waiting()

    async def scenario(face: Face) -> bool:
        told = begin(face.methods(), "ModelInfer", infer())
        await asyncio.sleep(0)
        assert told.withdraw is not None
        told.withdraw()
        model.open.set()
        await ask(face.methods(), "ModelInfer", infer())
        return told.heard.is_set()

    assert not over_grpc(scenario, served(model, inline=False))


def test_metadata_and_readiness_are_told() -> None:
    server = oip.ServerMetadataResponse.FromString(answer("ServerMetadata", b"").message)
    assert (server.name, server.version) == ("waypost", "1.2.3")
    assert "statistics" in server.extensions
    assert answer("ServerLive", b"").message == b"\x08\x01"
    assert answer("ServerReady", b"").message == b"\x08\x01"
    assert answer("ServerReady", b"", model=served(life=READY.draining())).message == b""
    ready = oip.ModelReadyRequest(name="tower-7", version="7")
    assert answer("ModelReady", ready).message == b"\x08\x01"
    told = answer("ModelMetadata", oip.ModelMetadataRequest(name="tower-7"))
    metadata = oip.ModelMetadataResponse.FromString(told.message)
    assert (metadata.name, list(metadata.versions), list(metadata.inputs[0].shape)) == ("forecast", ["7"], [-1, 2])
    assert dict(told.trailers)["waypost-model-version"] == FULL_NAME


def test_the_configuration_has_the_batch_in_front_of_the_shapes() -> None:
    request = configs.ModelConfigRequest(name="forecast")
    alone = configs.ModelConfigResponse.FromString(answer("ModelConfig", request).message).config
    assert (alone.max_batch_size, list(alone.input[0].dims), alone.HasField("dynamic_batching")) == (0, [-1, 2], False)
    told = answer("ModelConfig", request, model=served(rows_max=8))
    together = configs.ModelConfigResponse.FromString(told.message).config
    assert (together.max_batch_size, list(together.input[0].dims)) == (8, [2])
    assert together.HasField("dynamic_batching")


def test_calls_are_counted_for_each_model() -> None:
    async def scenario(face: Face) -> list[statistics.ModelStatistics]:
        methods = face.methods()
        for _ in range(3):
            await ask(methods, "ModelInfer", infer())
        await ask(methods, "ModelInfer", infer(outputs=[oip.InferRequestedOutputTensor(name="z")]))
        found = []
        for name in ("forecast", ""):
            told = await ask(methods, "ModelStatistics", statistics.ModelStatisticsRequest(name=name))
            found += statistics.ModelStatisticsResponse.FromString(told.message).model_stats
        return found

    one, other = over_grpc(scenario)
    assert one == other
    assert (one.name, one.version, one.inference_count, one.execution_count) == ("forecast", "7", 3, 3)
    assert (one.inference_stats.success.count, one.inference_stats.fail.count) == (3, 1)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in one.batch_stats] == [(1, 3)]


LAYOUTS = [
    {"model_name": "forecast"},
    {"repository_name": "forecast"},
    {"model_name": "forecast", "repository_name": "r"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_xapps_may_not_change_the_models_of_a_position(layout: dict[str, str]) -> None:
    load, unload = repository.RepositoryModelLoadRequest(**layout), repository.RepositoryModelUnloadRequest(**layout)
    load.parameters["config"].string_param = "{}"
    for told in (answer("RepositoryModelLoad", load), answer("RepositoryModelUnload", unload)):
        assert isinstance(told.error, Denied)
        assert "'forecast'" in told.error.message


def test_a_model_is_unloaded_by_hand_in_either_layout() -> None:
    for layout in LAYOUTS:
        told = answer("RepositoryModelUnload", repository.RepositoryModelUnloadRequest(**layout), place=BY_HAND)
        response = repository.RepositoryModelUnloadResponse.FromString(told.message)
        assert (response.model_name, response.is_unloaded) == ("forecast", True)


@pytest.mark.parametrize("parameter", ["config", "file:1/model.onnx"])
def test_a_model_is_not_brought_along(parameter: str) -> None:
    request = repository.RepositoryModelLoadRequest(model_name="forecast")
    request.parameters[parameter].bytes_param = b"x"
    assert isinstance(answer("RepositoryModelLoad", request, place=BY_HAND).error, Unsupported)


def test_the_repository_is_listed() -> None:
    told = answer("RepositoryIndex", repository.RepositoryIndexRequest())
    (model,) = repository.RepositoryIndexResponse.FromString(told.message).models
    assert (model.name, model.version, model.state) == ("forecast", "7", "READY")


def test_settings_are_told_and_not_changed() -> None:
    told = answer("TraceSetting", settings.TraceSettingRequest(model_name="forecast"))
    trace = settings.TraceSettingResponse.FromString(told.message).settings
    assert {name: list(setting.value) for name, setting in trace.items()} == {"trace_level": ["OFF"]}
    log = settings.LogSettingsResponse.FromString(answer("LogSettings", b"").message).settings
    assert log["log_error"].bool_param
    change = settings.TraceSettingRequest(settings={"trace_level": settings.TraceSettingValue(value=["TIMESTAMPS"])})
    assert isinstance(answer("TraceSetting", change).error, Denied)
    assert isinstance(answer("TraceSetting", change, place=BY_HAND).error, Unsupported)
    level = settings.LogSettingsRequest(settings={"log_verbose_level": settings.LogSettingValue(uint32_param=9)})
    assert isinstance(answer("LogSettings", level).error, Denied)


def test_the_settings_of_a_model_that_is_not_here_are_not_found() -> None:
    assert isinstance(answer("TraceSetting", settings.TraceSettingRequest(model_name="nowhere")).error, NotFound)


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_there_is_no_shared_memory(kind: str) -> None:
    status = getattr(memory, f"{kind}SharedMemoryStatusResponse")
    told = answer(f"{kind}SharedMemoryStatus", b"")
    assert not status.FromString(told.message).regions
    assert answer(f"{kind}SharedMemoryUnregister", b"").error is None
    refused = answer(f"{kind}SharedMemoryRegister", b"\x0a\x01r")
    assert isinstance(refused.error, Unsupported)
    assert refused.error.hint
