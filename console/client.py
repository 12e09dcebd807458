"""The API of the platform that a context names: calls with a bound on their time, and errors that a person can act on.

    with Client(contexts.select(None)) as client:
        position = client.call(client.positions.GetPosition, GetPositionRequest(name=name)).position

The calls are synchronous: a command asks a few things one after the other. `waypost watch` follows several streams at
once and opens an asyncio channel of its own with `open_aio`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import grpc

from console.contexts import Context
from waypost.api.control.v1.artifact_pb2_grpc import ArtifactServiceStub
from waypost.api.control.v1.audit_pb2_grpc import AuditServiceStub
from waypost.api.control.v1.authority_pb2_grpc import AuthorityServiceStub
from waypost.api.control.v1.credential_pb2_grpc import CredentialServiceStub
from waypost.api.control.v1.edge_server_pb2_grpc import EdgeServerServiceStub
from waypost.api.control.v1.event_pb2_grpc import EventServiceStub
from waypost.api.control.v1.model_pb2_grpc import ModelServiceStub
from waypost.api.control.v1.platform_pb2_grpc import PlatformServiceStub
from waypost.api.control.v1.position_pb2_grpc import PositionServiceStub
from waypost.api.control.v1.role_binding_pb2_grpc import RoleBindingServiceStub
from waypost.api.control.v1.session_pb2_grpc import SessionServiceStub
from waypost.api.control.v1.subscription_pb2_grpc import SubscriptionServiceStub
from waypost.api.control.v1.user_pb2_grpc import UserServiceStub
from waypost.api.control.v1.watch_pb2_grpc import WatchServiceStub
from waypost.errors import MeshError, Unauthenticated, Unavailable
from waypost.rpc import Tls, open_aio_channel, open_channel

PAGE_SIZE = 500  # of a list: few round trips, and an answer far below the limit of a message
CALL_S = 20.0  # a control plane answers in milliseconds; a person has given up by then

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """One channel to one control plane. Thread-safe, like the channel. Close it, or use it as a context manager."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.channel = open_channel(context.address, tls=_tls(context), token=context.proof)
        self.platform = PlatformServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)
        self.artifacts = ArtifactServiceStub(self.channel)
        self.positions = PositionServiceStub(self.channel)
        self.edge_servers = EdgeServerServiceStub(self.channel)
        self.subscriptions = SubscriptionServiceStub(self.channel)
        self.authority = AuthorityServiceStub(self.channel)
        self.credentials = CredentialServiceStub(self.channel)
        self.role_bindings = RoleBindingServiceStub(self.channel)
        self.sessions = SessionServiceStub(self.channel)
        self.users = UserServiceStub(self.channel)
        self.audit = AuditServiceStub(self.channel)
        self.events = EventServiceStub(self.channel)
        self.watches = WatchServiceStub(self.channel)

    def call(self, method: Callable[..., Response], request: object, *, timeout: float = CALL_S) -> Response:
        """One unary call. Raises: MeshError."""
        with explained(self.context):
            return method(request, timeout=timeout)

    def stream(
        self, method: Callable[..., Iterator[Response]], request: object, *, timeout: float | None = None
    ) -> Iterator[Response]:
        """A server stream, for as long as it is iterated, at most `timeout` seconds. Raises: MeshError."""
        responses: Any = method(request, timeout=timeout)
        try:
            with explained(self.context):
                yield from responses
        finally:
            responses.cancel()

    def pages(self, method: Callable[..., Any], request: Any, field: str) -> Iterator[Any]:
        """What a List method finds, page after page. request: with its page size; field: of the response."""
        while True:
            page = self.call(method, request)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_aio(context: Context) -> grpc.aio.Channel:
    """A channel of the same kind for asyncio, for the running loop."""
    return open_aio_channel(context.address, tls=_tls(context), token=context.proof)


@contextmanager
def explained(context: Context) -> Iterator[None]:
    """Says which platform did not answer, or did not know the token; every other error passes as it is."""
    try:
        yield
    except MeshError as error:
        raise _explain(error, context) from error


def _explain(error: MeshError, context: Context) -> MeshError:
    # A platform that answers gives a reason of its own; the bare name of a code is what grpc itself came up with.
    if isinstance(error, Unavailable) and error.reason == "UNAVAILABLE":
        return Unavailable(
            "PLATFORM_UNREACHABLE",
            f"no platform answers at {context.address} (context {context.name!r})",
            "is it running? `waypost up` starts it; `waypost context list` shows where else you could look",
            cause=error.message,
        )
    if isinstance(error, Unauthenticated) and context.proof and error.reason != "LOGIN_FAILED":
        return Unauthenticated(
            error.reason,
            f"the platform at {context.address} does not accept the token of context {context.name!r}: {error.message}",
            error.hint
            or "`waypost up` writes a fresh context; for a platform elsewhere: `waypost login`, `waypost context add`",
        )
    return error


def _tls(context: Context) -> Tls | None:
    if context.address.startswith("http://"):
        return None
    return Tls(roots=context.ca_pem.encode() or None)
