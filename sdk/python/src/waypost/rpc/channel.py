"""Channels, sync and asyncio, whose calls raise MeshError and carry a token.

TLS is spoken where `tls` is given or the address's scheme says so; plaintext is for loopback and Unix sockets.

Both kinds wrap grpc's own channel and are handed to generated stubs as such. They wrap calls instead of using grpc's
interceptors: those cost tens of microseconds per asyncio call, and an exception raised inside one is reported a second
time when the call is collected (grpcio 1.82). The token is plain metadata because grpc's call credentials refuse
plaintext channels, on loopback too.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from waypost.rpc.status import from_rpc_error
from waypost.rpc.target import MESSAGE_BYTES_MAX, Tls, without_scheme

RECONNECT_MS_MAX = 2000  # a peer that comes back is found within two seconds

Metadata = Sequence[tuple[str, str | bytes]]


def open_channel(address: str, *, tls: Tls | None = None, token: str | None = None) -> grpc.Channel:
    """A sync channel for generated stubs; thread-safe; does not wait for the connection. Close it after use."""
    target, credentials, options = _parts(address, tls)
    if credentials is None:
        inner = grpc.insecure_channel(target, options)
    else:
        inner = grpc.secure_channel(target, credentials, options)
    return cast(grpc.Channel, SyncChannel(inner, token))


def open_aio_channel(address: str, *, tls: Tls | None = None, token: str | None = None) -> grpc.aio.Channel:
    """An asyncio channel for generated stubs, for the running loop; does not wait for the connection. Close it."""
    target, credentials, options = _parts(address, tls)
    if credentials is None:
        inner = grpc.aio.insecure_channel(target, options)
    else:
        inner = grpc.aio.secure_channel(target, credentials, options)
    return cast(grpc.aio.Channel, AioChannel(inner, token))


def _parts(address: str, tls: Tls | None) -> tuple[str, grpc.ChannelCredentials | None, list[tuple[str, Any]]]:
    target, secure = without_scheme(address)
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5000),  # it is also how long one attempt to connect may take
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
        ("grpc.use_local_subchannel_pool", 1),  # two channels to one address must not share their fate
        ("grpc.enable_http_proxy", 0),  # the mesh is never behind the environment's web proxy
    ]
    if target.startswith("unix:"):
        options.append(("grpc.default_authority", "localhost"))  # a path is no valid authority for strict peers
    if tls is None and not secure:
        return target, None, options
    tls = tls or Tls()
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return target, grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate), options


class _Channel:
    """What both kinds share: each of grpc's four call kinds, wrapped."""

    def __init__(self, inner: Any, token: str | None) -> None:
        self._inner = inner
        self._own: Metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def _wrapped(self, kind: str, wrapper: Callable[[Any, Metadata], Any], arguments: Any, keywords: Any) -> Any:
        return wrapper(getattr(self._inner, kind)(*arguments, **keywords), self._own)


class SyncChannel(_Channel):
    def unary_unary(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("unary_unary", _SyncUnary, arguments, keywords)

    def stream_unary(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("stream_unary", _SyncUnary, arguments, keywords)

    def unary_stream(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("unary_stream", _SyncStream, arguments, keywords)

    def stream_stream(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("stream_stream", _SyncStream, arguments, keywords)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> "SyncChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AioChannel(_Channel):
    def unary_unary(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("unary_unary", _AioUnary, arguments, keywords)

    def stream_unary(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("stream_unary", _AioUnary, arguments, keywords)

    def unary_stream(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("unary_stream", _AioStream, arguments, keywords)

    def stream_stream(self, *arguments: Any, **keywords: Any) -> Any:
        return self._wrapped("stream_stream", _AioStream, arguments, keywords)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    async def __aenter__(self) -> "AioChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Call:
    def __init__(self, call: Any, own: Metadata) -> None:
        self._call = call
        self._own = own

    def _metadata(self, metadata: Metadata | None) -> Metadata | None:
        return (*(metadata or ()), *self._own) or None


class _SyncUnary(_Call):
    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> Any:
        return self.with_call(request, timeout, metadata)[0]

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> tuple[Any, grpc.Call]:
        """The response and grpc's call, for its metadata."""
        try:
            response, call = self._call.with_call(request, timeout, self._metadata(metadata))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return response, call


class _SyncStream(_Call):
    def __call__(
        self, request: Any | Iterable[Any], timeout: float | None = None, metadata: Metadata | None = None
    ) -> "SyncResponses":
        return SyncResponses(self._call(request, timeout, self._metadata(metadata)))


class SyncResponses:
    """Responses as they come. `cancel` ends the call from any thread."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def cancel(self) -> None:
        self._call.cancel()


class _AioUnary(_Call):
    async def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> Any:
        return (await self.with_call(request, timeout, metadata))[0]

    async def with_call(
        self, request: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> tuple[Any, Any]:
        """The response and grpc's call, for its metadata."""
        call = self._call(request, timeout=timeout, metadata=self._metadata(metadata))
        try:
            return await call, call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()  # an abandoned grpc.aio call is never collected by itself (grpc issue 43462)


class _AioStream(_Call):
    def start(self, metadata: Metadata | None = None) -> Any:
        """grpc's own call, for both ways at once by `read` and `write`. It raises grpc's errors; cancel it."""
        return self._call(metadata=self._metadata(metadata))

    async def __call__(
        self, request: Any | AsyncIterable[Any], timeout: float | None = None, metadata: Metadata | None = None
    ) -> AsyncIterator[Any]:
        call = self._call(request, timeout=timeout, metadata=self._metadata(metadata))
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
