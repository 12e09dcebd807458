"""Every method of the control plane's API, from the descriptors, and calls to it without a stub.

A method that is added to a proto is here by itself; nothing in this directory lists them.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

import waypost.api.control.v1 as api
from waypost.api.link.v1 import enrolment_pb2
from waypost.rpc.status import DETAILS_KEY, from_status

CALL_S = 10.0


@dataclass(frozen=True)
class Method:
    descriptor: Any
    served_as: str = ""
    """Full name of its service on the wire, where that is not the descriptor's."""

    @property
    def short(self) -> str:
        """`PositionService/GetPosition`."""
        return f"{self.descriptor.containing_service.name}/{self.descriptor.name}"

    @property
    def path(self) -> str:
        return f"/{self.served_as or self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    def empty(self) -> Any:
        return GetMessageClass(self.descriptor.input_type)()

    def request(self, about: str) -> Any:
        """A request about something in `about` (`projects/uav`, or empty for nothing): every field that can name a
        resource names one there, which does not exist, so that no call does any harm.
        """
        request = self.empty()
        for field in self.descriptor.input_type.fields:
            if field.name in ("name", "resource"):
                setattr(request, field.name, f"{about}/{_below(self.short)}" if about else "")
            elif field.name == "parent":
                request.parent = f"{about}{_owner(self.short)}" if about else ""
            elif field.name == "names":
                request.names.append(about or "edgeServers")
            elif field.message_type is not None and "name" in field.message_type.fields_by_name:
                getattr(request, field.name).name = f"{about}/{_below(self.short)}" if about else ""
        return request


def _below(method: str) -> str:
    """What follows the project in the name of something that belongs to one."""
    collection = {"CredentialService": "credentials", "RoleBindingService": "roleBindings"}
    return f"{collection.get(method.partition('/')[0], 'applications')}/none"


def _owner(method: str) -> str:
    service = method.partition("/")[0]
    return "/applications/none" if service in ("ModelService", "PositionService") else ""


def methods() -> Iterator[Method]:
    for found in pkgutil.iter_modules(api.__path__):
        if found.name.endswith("_pb2"):
            module = importlib.import_module(f"{api.__name__}.{found.name}")
            for service in module.DESCRIPTOR.services_by_name.values():
                yield from map(Method, service.methods)
    for service in enrolment_pb2.DESCRIPTOR.services_by_name.values():
        yield from map(Method, service.methods)


METHODS = sorted(methods(), key=lambda method: method.short)


def methods_of(module: Any, served_as: str = "") -> list[Method]:
    """All methods of the services that a generated module declares."""
    services = module.DESCRIPTOR.services_by_name.values()
    return [Method(method, served_as) for service in services for method in service.methods]


async def outcome(
    channel: grpc.aio.Channel, method: Method, request: Any, token: str | None, *metadata: tuple[str, str]
) -> tuple[str, str]:
    """(code's name, reason) that a call ends with; ("OK", "") for an answer, or for a stream that is let in.

    request: None for a stream whose caller says nothing. grpc's client tells of a refusal as INTERNAL where that
    crosses with a message.
    """
    way = ("stream" if method.descriptor.client_streaming else "unary", method.descriptor.server_streaming)
    start = getattr(channel, f"{way[0]}_{'stream' if way[1] else 'unary'}")(
        method.path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=bytes,
    )
    if token is not None:
        metadata = (*metadata, ("authorization", f"Bearer {token}"))
    call = start(_once(request) if way[0] == "stream" else request, metadata=metadata, timeout=CALL_S)
    try:
        if way[1]:
            return await _first(call)
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, reason_of(error.trailing_metadata())
    finally:
        call.cancel()
    return "OK", ""


async def _first(call: Any) -> tuple[str, str]:
    """A stream that says something, or ends well, was let in."""
    await call.read()
    return "OK", ""


async def _once(request: Any) -> AsyncIterator[Any]:
    if request is None:
        await asyncio.Event().wait()
    yield request


def reason_of(trailers: Any) -> str:
    """The reason of a MeshError among a call's trailers; empty where there is none."""
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value)).reason
    return ""
