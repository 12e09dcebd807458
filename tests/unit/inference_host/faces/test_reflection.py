"""What grpcurl is told: descriptors that stand on their own, under the public names."""

import asyncio

import pytest
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from inference_host.faces import reflection
from inference_host.transport.methods import Caller, Streaming
from tests.unit.inference_host.callers import once
from waypost.api.inference.v1 import inference_pb2 as oip

SERVICES = ["inference.GRPCInferenceService", "grpc.health.v1.Health", "waypost.api.xapp.v1.InferenceService"]
V1, V1_ALPHA = (f"grpc.reflection.{version}.ServerReflection" for version in ("v1", "v1alpha"))


def ask(**request: str) -> ServerReflectionResponse:
    async def scenario() -> ServerReflectionResponse:
        answers = []
        for method in reflection.methods(SERVICES):
            assert isinstance(method.behaviour, Streaming)
            stream = method.behaviour.run(once(ServerReflectionRequest(**request)), Caller())
            answers += [ServerReflectionResponse.FromString(message) async for message in stream]
        assert answers[0] == answers[1], "both versions tell the same"
        return answers[0]

    return asyncio.run(scenario())


def pool_of(response: ServerReflectionResponse) -> DescriptorPool:
    """A pool with nothing but what was told."""
    files = DescriptorDatabase()
    for message in response.file_descriptor_response.file_descriptor_proto:
        files.Add(FileDescriptorProto.FromString(message))
    return DescriptorPool(files)


def test_services_are_listed_with_reflection_itself() -> None:
    listed = [service.name for service in ask(list_services="").list_services_response.service]
    assert listed == sorted([*SERVICES, V1, V1_ALPHA])


@pytest.mark.parametrize("service", [*SERVICES, V1, V1_ALPHA])
def test_each_service_resolves_with_all_that_its_messages_need(service: str) -> None:
    found = pool_of(ask(file_containing_symbol=service)).FindServiceByName(service)
    assert all(method.input_type.fields is not None for method in found.methods)


def test_inference_is_told_under_its_public_name_with_the_same_fields() -> None:
    pool = pool_of(ask(file_containing_symbol="inference.GRPCInferenceService.ModelInfer"))
    told = pool.FindMessageTypeByName("inference.ModelInferRequest")
    ours = oip.ModelInferRequest.DESCRIPTOR
    assert [(field.name, field.number, field.type) for field in told.fields] == [
        (field.name, field.number, field.type) for field in ours.fields
    ]
    assert told.fields_by_name["inputs"].message_type.full_name == "inference.InferInputTensor"


def test_files_are_told_by_name() -> None:
    response = ask(file_by_filename="inference/model_config.proto")
    assert pool_of(response).FindMessageTypeByName("inference.ModelConfig")


@pytest.mark.parametrize(
    ("request_fields", "code"),
    [
        ({"file_containing_symbol": "waypost.api.inference.v1.ModelInferRequest"}, 5),
        ({"file_by_filename": "nowhere.proto"}, 5),
        ({"all_extension_numbers_of_type": "inference.ModelInferRequest"}, 12),
        ({}, 12),
    ],
)
def test_what_is_not_there_is_an_answer_and_not_the_end(request_fields: dict[str, str], code: int) -> None:
    assert ask(**request_fields).error_response.error_code == code
