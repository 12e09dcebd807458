"""The bytes on the wire are the public protocol's, whatever our messages are called."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import model_config_pb2 as public_config
from tritonclient.grpc import service_pb2 as public

from waypost.api.inference.v1 import inference_pb2 as ours
from waypost.api.inference.v1 import model_config_pb2, repository_pb2, settings_pb2, shared_memory_pb2, statistics_pb2

MODULES = (ours, model_config_pb2, repository_pb2, settings_pb2, shared_memory_pb2, statistics_pb2)
MESSAGES = {name: message for module in MODULES for name, message in module.DESCRIPTOR.message_types_by_name.items()}

OURS_ONLY = {
    "ModelMetadataResponse": {"properties"},  # of the protocol's own repository; Triton's proto lacks it
    "RepositoryModelLoadResponse": {"model_name", "is_loaded"},  # KServe's; empty in Triton's
    "RepositoryModelUnloadResponse": {"model_name", "is_unloaded"},
}
LEFT_OUT = {  # what Triton tells and we have nothing to say about
    "ModelStatistics": {"memory_usage", "response_stats"},
    "InferStatistics": {"cache_hit", "cache_miss"},
}
NESTED = {  # Triton nests these messages in others; nesting does not show on the wire
    "TensorMetadata": public.ModelMetadataResponse.TensorMetadata,
    "InferInputTensor": public.ModelInferRequest.InferInputTensor,
    "InferRequestedOutputTensor": public.ModelInferRequest.InferRequestedOutputTensor,
    "InferOutputTensor": public.ModelInferResponse.InferOutputTensor,
    "ModelIndex": public.RepositoryIndexResponse.ModelIndex,
    "TraceSettingValue": public.TraceSettingRequest.SettingValue,
    "LogSettingValue": public.LogSettingsRequest.SettingValue,
    "SystemSharedMemoryRegion": public.SystemSharedMemoryStatusResponse.RegionStatus,
    "CudaSharedMemoryRegion": public.CudaSharedMemoryStatusResponse.RegionStatus,
}


def wire_form(field: FieldDescriptor) -> tuple[int, int, bool]:
    return field.number, field.type, field.is_repeated


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_field_has_the_public_number_and_type(name: str) -> None:
    whole = name in NESTED or hasattr(public, name)  # of a model's configuration we tell a part
    theirs = (NESTED.get(name) or getattr(public if whole else public_config, name)).DESCRIPTOR.fields_by_name
    mine = {field: wire_form(found) for field, found in MESSAGES[name].fields_by_name.items()}
    for extra in OURS_ONLY.get(name, ()):
        del mine[extra]
    told = set(theirs) - LEFT_OUT.get(name, set()) if whole else set(mine)
    assert mine == {field: wire_form(theirs[field]) for field in told}


@pytest.fixture
def channel(grpc_address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(grpc_address) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, request: bytes) -> tuple[bytes, grpc.Call]:
    """Bytes in, bytes out: no generated code in between."""
    return channel.unary_unary(f"/inference.GRPCInferenceService/{method}").with_call(request, timeout=10)


def test_an_inference_byte_for_byte(channel: grpc.Channel) -> None:
    values = np.array([1, 2, 3, 4], "<f4").tobytes()
    request = (
        b"\x0a\x06affine"  # model_name = 1
        b"\x1a\x027x"  # id = 3
        b"\x2a\x0d"  # inputs = 5
        b"\x0a\x01x\x12\x04FP32\x1a\x02\x01\x04"  # name = 1, datatype = 2, shape = 3 (packed)
        b"\x3a\x10" + values  # raw_input_contents = 7
    )
    answered, _ = call(channel, "ModelInfer", request)
    assert answered == (
        b"\x0a\x06affine"  # model_name = 1
        b"\x12\x011"  # model_version = 2
        b"\x1a\x027x"  # id = 3
        b"\x2a\x0d"  # outputs = 5
        b"\x0a\x01y\x12\x04FP32\x1a\x02\x01\x04"
        b"\x32\x10" + np.array([3, 5, 7, 9], "<f4").tobytes()  # raw_output_contents = 6
    )


def test_health_byte_for_byte(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive", b"")[0] == b"\x08\x01"
    assert call(channel, "ServerReady", b"")[0] == b"\x08\x01"
    assert call(channel, "ModelReady", b"\x0a\x06affine")[0] == b"\x08\x01"


@pytest.mark.parametrize("request_bytes", [b"\x0a\x07nowhere", b"\x12\x07nowhere"])
def test_both_layouts_of_a_load_request_name_the_model(channel: grpc.Channel, request_bytes: bytes) -> None:
    """KServe has the model's name in field 1, Triton in field 2."""
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, "RepositoryModelLoad", request_bytes)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "'nowhere'" in refused.value.details()


def test_who_answered_stands_in_the_trailers_and_nothing_before(channel: grpc.Channel) -> None:
    """Initial metadata would commit a call that may still fail, and take its retry away."""
    request = ours.ModelInferRequest(model_name="affine", raw_input_contents=[bytes(16)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    _, done = call(channel, "ModelInfer", request.SerializeToString())
    trailers = dict(done.trailing_metadata())
    assert trailers["waypost-model-version"] == "affine/1"
    assert trailers["waypost-model-digest"].startswith("sha256:")
    assert {"waypost-position-generation", "waypost-replica"} <= trailers.keys()
    assert not [key for key, _ in done.initial_metadata() if key.startswith("waypost")]


def test_a_method_that_is_not_ours_is_unimplemented(channel: grpc.Channel) -> None:
    for method in ("CudaSharedMemoryNonsense", "Nonsense"):
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, method, b"")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_do_no_harm(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError):
        call(channel, "ModelInfer", b"\xff\xff\xff")
    assert call(channel, "ServerLive", b"")[0] == b"\x08\x01"
