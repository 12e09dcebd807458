"""gRPC server reflection, for people with grpcurl: which services there are, and what their messages look like.

Two versions of the protocol are in use, `v1` and `v1alpha`, with the same messages under different names; the messages
of one serve both (grpc's doc/server-reflection.md).

Our Open Inference Protocol messages have a package of their own (inference.proto says why), and are told here under the
public name, as are the reflection messages of `v1`: descriptors are renamed on their way out, and never enter a pool of
this process under their other name.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as messages

from inference_host.transport.methods import Caller, Method, Streaming, parse
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.xapp.v1 import inference_pb2 as xapp
from waypost.errors import MeshError, NotFound, Unsupported

V1, V1_ALPHA = "grpc.reflection.v1", "grpc.reflection.v1alpha"
PUBLIC_NAMES = {"waypost.api.inference.v1": "inference", "waypost/api/inference/v1": "inference"}
"""Package and directory of the Open Inference Protocol."""
V1_NAMES = {V1_ALPHA: V1, "grpc_reflection/v1alpha": "grpc_reflection/v1"}


def methods(services: Sequence[str]) -> Sequence[Method]:
    """services: full names of what the host serves beside this."""
    reflection = Reflection(services)
    return [
        Method(f"/{package}.ServerReflection/ServerReflectionInfo", Streaming(reflection.run))
        for package in (V1, V1_ALPHA)
    ]


class Reflection:
    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted({*services, f"{V1}.ServerReflection", f"{V1_ALPHA}.ServerReflection"})

    async def run(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        async for body in requests:
            yield self.answer(parse(messages.ServerReflectionRequest, body)).SerializeToString()

    def answer(self, request: messages.ServerReflectionRequest) -> messages.ServerReflectionResponse:
        response = messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._fill(response, request)
        except MeshError as error:
            response.error_response.error_code = error.code
            response.error_response.error_message = error.message
        return response

    def _fill(self, response: messages.ServerReflectionResponse, request: messages.ServerReflectionRequest) -> None:
        """Raises: NotFound, Unsupported."""
        match request.WhichOneof("message_request"):
            case "list_services":
                response.list_services_response.service.extend(
                    messages.ServiceResponse(name=name) for name in self._services
                )
            case "file_by_filename":
                response.file_descriptor_response.file_descriptor_proto.extend(_with_imports(request.file_by_filename))
            case "file_containing_symbol":
                symbol = request.file_containing_symbol
                file = _by_symbol().get(symbol)
                if file is None:
                    raise NotFound("UNKNOWN_SYMBOL", f"there is no {symbol!r} here")
                response.file_descriptor_response.file_descriptor_proto.extend(_with_imports(file))
            case _:
                raise Unsupported("UNSUPPORTED_REQUEST", "only services, files and symbols are told")


def _with_imports(name: str) -> list[bytes]:
    """The file and all that it imports, directly or not. Raises: NotFound."""
    files = _files()
    if name not in files:
        raise NotFound("UNKNOWN_FILE", f"there is no file {name!r} here")
    names = [name]
    for each in names:
        names += [imported for imported in files[each].dependency if imported not in names]
    return [files[each].SerializeToString() for each in names]


@cache
def _files() -> Mapping[str, FileDescriptorProto]:
    """All files by name, as they are told."""
    files = [
        *(_renamed(file, PUBLIC_NAMES) for file in _closure(oip.DESCRIPTOR)),
        *map(_proto, _closure(xapp.DESCRIPTOR)),
        _proto(health_pb2.DESCRIPTOR),
        _proto(messages.DESCRIPTOR),
        _renamed(messages.DESCRIPTOR, V1_NAMES),
    ]
    return {file.name: file for file in files}


@cache
def _by_symbol() -> Mapping[str, str]:
    """The file of each service, method, message, field and enum by its full name."""
    return {f"{file.package}.{symbol}": file.name for file in _files().values() for symbol in _symbols(file)}


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    for service in file.service:
        yield service.name
        yield from (f"{service.name}.{method.name}" for method in service.method)
    yield from (enum.name for enum in file.enum_type)
    for message in file.message_type:
        yield from _symbols_in(message, message.name)


def _symbols_in(message: DescriptorProto, name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}.{field.name}" for field in message.field)
    yield from (f"{name}.{enum.name}" for enum in message.enum_type)
    for nested in message.nested_type:
        yield from _symbols_in(nested, f"{name}.{nested.name}")


def _closure(file: Any) -> Iterator[Any]:
    yield file
    for imported in file.dependencies:
        yield from _closure(imported)


def _proto(file: Any) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(file.serialized_pb)


def _renamed(file: Any, names: Mapping[str, str]) -> FileDescriptorProto:
    """A file under other names, with all that it says of itself and of its neighbours."""
    text = json_format.MessageToJson(_proto(file))
    for name, public in names.items():
        text = text.replace(name, public)
    renamed = FileDescriptorProto()
    json_format.Parse(text, renamed)
    return renamed
