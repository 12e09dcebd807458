"""A control plane for tests of the console: the real API over real gRPC on a Unix socket, resources in a dict.

It keeps the API's rules as far as a client can see them (masks, generations, pages, watches, tokens), and none of
what makes a platform: a position does what the test says with `say`.
"""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from console.contexts import Context
from console.kinds import KINDS, POSITION, VERSION, Kind
from tests.waiting import PATIENCE_S
from waypost import names
from waypost.api.control.v1 import (
    application_pb2,
    artifact_pb2,
    audit_pb2,
    credential_pb2,
    edge_server_pb2,
    event_pb2,
    model_pb2,
    platform_pb2,
    position_pb2,
    project_pb2,
    role_binding_pb2,
    session_pb2,
    subscription_pb2,
    user_pb2,
    watch_pb2,
)
from waypost.errors import AlreadyExists, MeshError, NotFound, Unauthenticated
from waypost.rpc.status import DETAILS_KEY, grpc_code, to_status

TOKEN = "wp1_test"
PAGE = 2  # small, so that every list of a test has several pages

SERVICES = [
    service
    for module in (
        application_pb2,
        artifact_pb2,
        audit_pb2,
        credential_pb2,
        edge_server_pb2,
        event_pb2,
        model_pb2,
        platform_pb2,
        position_pb2,
        project_pb2,
        role_binding_pb2,
        session_pb2,
        subscription_pb2,
        user_pb2,
        watch_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]

BY_NOUN = {kind.noun: kind for kind in (*KINDS, VERSION)}
VERB = re.compile(r"(Get|List|Create|Update|Delete)(\w+?)s?")


class FakePlatform:
    """Use it as a context manager; `context` is for the console, `calls` is what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.resources: dict[str, Any] = {}
        self.calls: list[tuple[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[Any], Any]] = {}
        """Method -> its answer, for what the dict cannot answer; an iterator of answers for a stream."""
        self.allow_anybody = False
        """Whether calls need no token, as logging in does."""
        self._changed = threading.Condition()
        self._revision = 0
        self._sent: dict[str, bytes] = {}
        self._closing = False
        self._server = grpc.server(ThreadPoolExecutor(8))
        address = f"unix:{directory}/api.sock"
        self._server.add_insecure_port(address)
        self.context = Context("fake", f"http://{address}", "", TOKEN)
        for service in SERVICES:
            self._serve(service)

    def __enter__(self) -> "FakePlatform":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._server.stop(None).wait()

    def put(self, resource: Any) -> Any:
        """Stores a resource and wakes the watchers."""
        with self._changed:
            self._revision += 1
            resource.etag = f'"{self._revision}"'
            self.resources[resource.name] = resource
            self._changed.notify_all()
        return resource

    def say(self, name: str, change: Callable[[Any], None]) -> None:
        """Changes a resource in place, as an edge's report would."""
        change(self.resources[name])
        self.put(self.resources[name])

    def wait_for(self, name: str) -> None:
        """Until the resource exists and somebody has been sent its newest form."""

        def is_sent() -> bool:
            return name in self.resources and self._sent.get(name) == self.resources[name].SerializeToString()

        self._until(is_sent, f"{name} exists and is sent in its newest form")

    def wait_for_watcher(self) -> None:
        """Until somebody watches."""
        self._until(lambda: bool(self._sent), "somebody watches")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            came = self._changed.wait_for(condition, PATIENCE_S)
            assert came, f"not within {PATIENCE_S:g} s: {what}; sent were {sorted(self._sent)}"

    def _serve(self, service: ServiceDescriptor) -> None:
        handlers = {}
        for method in service.methods:
            request = GetMessageClass(method.input_type)
            if method.client_streaming:
                handler = grpc.stream_unary_rpc_method_handler
            else:
                handler = (
                    grpc.unary_stream_rpc_method_handler
                    if method.server_streaming
                    else grpc.unary_unary_rpc_method_handler
                )
            handlers[method.name] = handler(
                self._guarded(method.name, streams=method.server_streaming),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    def _guarded(self, method: str, *, streams: bool) -> Callable[[Any, grpc.ServicerContext], Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._check_token(context)
                return self._answer(method, request)
            except MeshError as error:
                _abort(context, error)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._check_token(context)
                yield from self._answer(method, request)
            except MeshError as error:
                _abort(context, error)

        return stream if streams else answer

    def _check_token(self, context: grpc.ServicerContext) -> None:
        if not self.allow_anybody and ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
            raise Unauthenticated("BAD_TOKEN", "this token is not known here")

    def _answer(self, method: str, request: Any) -> Any:
        if method == "WriteArtifact":
            return self._write_artifact(list(request))
        self.calls.append((method, request))
        if method in self.answers:
            return self.answers[method](request)
        if method == "Watch":
            return self._watch(list(request.names))
        if method == "GetPlatform":
            return platform_pb2.GetPlatformResponse(
                version="0.1.0", caller="credentials/admin", link_address="127.0.0.1:7601"
            )
        match = VERB.fullmatch(method)
        assert match, f"the fake does not know {method}"
        return getattr(self, f"_{match[1].lower()}")(BY_NOUN[match[2]], request)

    def _get(self, kind: Kind, request: Any) -> Any:
        return self._wrapped("Get", kind, self._existing(request.name))

    def _list(self, kind: Kind, request: Any) -> Any:
        form = names.FORMS[kind.collection]
        found = sorted(name for name in self.resources if tuple(name.split("/")[::2]) == form)
        if kind.owned:
            wanted = request.parent.split("/")
            found = [
                name for name in found if all(w in ("-", n) for w, n in zip(wanted, name.split("/"), strict=False))
            ]
        start = int(request.page_token or 0)
        page = [self.resources[name] for name in found[start : start + PAGE]]
        token = str(start + PAGE) if start + PAGE < len(found) else ""
        return getattr(kind.module(), f"List{kind.noun}sResponse")(**{f"{kind.snake}s": page}, next_page_token=token)

    def _create(self, kind: Kind, request: Any) -> Any:
        id_ = getattr(request, f"{kind.snake}_id")
        name = f"{request.parent}/{kind.collection}/{id_}" if kind.owned else f"{kind.collection}/{id_}"
        if name in self.resources:
            raise AlreadyExists("ALREADY_EXISTS", f"{name} exists already")
        resource = getattr(request, kind.snake)
        resource.name = name
        self._accept(kind, resource)
        return self._wrapped("Create", kind, self.put(resource))

    def _update(self, kind: Kind, request: Any) -> Any:
        wanted = getattr(request, kind.snake)
        current = self.resources.get(wanted.name)
        if current is None and not request.allow_missing:
            raise NotFound("NOT_FOUND", f"there is no {wanted.name}")
        changed = kind.new(wanted.name)
        changed.CopyFrom(current or changed)
        for path in request.update_mask.paths:  # FieldMask.MergeMessage would merge maps instead of replacing them
            changed.ClearField(path.split(".")[0]) if "." not in path else None
        request.update_mask.MergeMessage(wanted, changed, True, True)
        if kind is POSITION and (current is None or changed.spec != current.spec):
            self._accept(kind, changed)
        return self._wrapped("Update", kind, self.put(changed))

    def _delete(self, kind: Kind, request: Any) -> Any:
        self._existing(request.name)
        with self._changed:
            del self.resources[request.name]
            self._changed.notify_all()
        return getattr(kind.module(), f"Delete{kind.noun}Response")()

    def _accept(self, kind: Kind, resource: Any) -> None:
        if kind is POSITION:
            resource.generation += 1
            resource.status.state = position_pb2.PositionState.POSITION_STATE_PENDING
            resource.status.message = "no agent has taken it yet"

    def _existing(self, name: str) -> Any:
        if name not in self.resources:
            raise NotFound("NOT_FOUND", f"there is no {name}")
        return self.resources[name]

    def _wrapped(self, verb: str, kind: Kind, resource: Any) -> Any:
        return getattr(kind.module(), f"{verb}{kind.noun}Response")(**{kind.snake: resource})

    def _write_artifact(self, requests: list[Any]) -> Any:
        self.uploads[requests[0].digest] = b"".join(request.data for request in requests)
        return artifact_pb2.WriteArtifactResponse(digest=requests[0].digest, size_bytes=requests[0].size_bytes)

    def _watch(self, wanted: list[str]) -> Iterator[Any]:
        sent: dict[str, bytes] = {}
        first = True
        while not self._closing:
            with self._changed:
                news = first
                for name in [n for n in sent if n not in self.resources]:
                    del sent[name]
                    yield watch_pb2.WatchResponse(revision=self._revision, deleted=name)
                for name, resource in list(self.resources.items()):
                    if sent.get(name) != resource.SerializeToString() and _matches(name, wanted):
                        self._sent[name] = sent[name] = resource.SerializeToString()
                        news = True
                        yield watch_pb2.WatchResponse(revision=self._revision, **{_field(resource): resource})
                if first:
                    yield watch_pb2.WatchResponse(revision=self._revision, snapshot_end=watch_pb2.SnapshotEnd())
                    first = False
                if news:
                    self._changed.notify_all()
                self._changed.wait(timeout=0.2)


def _abort(context: grpc.ServicerContext, error: MeshError) -> None:
    context.set_trailing_metadata(((DETAILS_KEY, to_status(error).SerializeToString()),))
    context.abort(grpc_code(error.code), error.message)


def _matches(name: str, wanted: list[str]) -> bool:
    return not wanted or any(f"{name}/".startswith(f"{root}/") for root in wanted)


def _field(resource: Any) -> str:
    return BY_NOUN[type(resource).__name__].snake
