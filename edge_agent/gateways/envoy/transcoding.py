"""PURE: JSON for xapp.v1, by Envoy's transcoder. All of it follows from the `google.api.http` options in the protos.

The transcoder keeps the route of the JSON path (`match_incoming_request_route`). By default it would choose a route
again for the gRPC path that it translates to, and whatever was attached to the JSON route would be lost on the way.
"""

import base64
from collections.abc import Iterator
from functools import cache

from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from edge_agent.gateways.envoy.typed import Json, typed
from waypost.api.xapp.v1 import access_pb2, inference_pb2

ACCESS = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]

NAME = "envoy.filters.http.grpc_json_transcoder"


def json_paths(service: ServiceDescriptor) -> list[str]:
    """Paths of a service's JSON methods, without those below `/positions/{position}`."""
    rules = (method.GetOptions().Extensions[annotations_pb2.http] for method in service.methods)
    return sorted(path for rule in rules if (path := rule.get or rule.post))


@cache
def transcoder(body_bytes_max: int) -> Json:
    """The filter's configuration, with the descriptors that it works by."""
    return typed(
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=base64.b64encode(descriptor_set().SerializeToString(deterministic=True)).decode(),
        services=[service.full_name for service in (ACCESS, INFERENCE)],
        match_incoming_request_route=True,
        # What every supported gateway does alike (reference of the JSON mapping: docs).
        print_options={"always_print_primitive_fields": True, "preserve_proto_field_names": True},
        convert_grpc_status=True,
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        max_request_body_size=body_bytes_max,
        max_response_body_size=body_bytes_max,
    )


def descriptor_set() -> FileDescriptorSet:
    """xapp.v1, the types of error details, and all that they import, in the order of their imports."""
    found: dict[str, FileDescriptorProto] = {}
    for module in (access_pb2, inference_pb2, status_pb2, error_details_pb2):
        for file in _with_imports(module.DESCRIPTOR):
            if file.name not in found:
                found[file.name] = FileDescriptorProto()
                file.CopyToProto(found[file.name])
    return FileDescriptorSet(file=found.values())


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    for imported in file.dependencies:
        yield from _with_imports(imported)
    yield file
