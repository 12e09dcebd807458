"""What every server of the mesh does around a call: authorise, translate errors, log one line.

A MeshError becomes `google.rpc.Status` with its reason, message and hint; anything else is logged with its traceback
and answered with INTERNAL and the id of the request, nothing more.
"""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from mesh.times import refuse_bad_times
from waypost.codes import Status
from waypost.errors import Internal, Invalid, MeshError
from waypost.rpc import from_rpc_error, grpc_code, to_status
from waypost.rpc.status import DETAILS_KEY

log = structlog.get_logger()

Authorise = Callable[[str, Any, Any], Awaitable[None]]
"""Called with the method's path, the call's context and its request before anything else; raises MeshError to refuse.
The request is the message, or where the caller streams the iterator of them, which is not for reading here."""

Shows = Callable[[str, Any], bool]
"""Called with the method's path and each response of a stream, after the call was judged again: whether it may be said.
It was made before that, perhaps for a caller who was allowed more. Where not, it is left out."""

Witness = Callable[[str, Any, Any, str, str], Awaitable[None]]
"""Called with path, context and request when a call has ended and before its caller hears of it, with the code's name
and the error's reason (empty for OK). Calls that their callers gave up are told as CANCELLED. Must not raise."""

JUDGED_AGAIN_S = 1.0  # a stream outlives what let it in by this at most, or until it has something to say


@dataclass(slots=True)
class _Call:
    """What the one log line of a call says."""

    method: str
    started: float
    code: str = "OK"
    reason: str = ""
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Unread:
    """In place of a request that is no message."""

    why: str


class Manners(grpc.aio.ServerInterceptor):
    """Authorises, translates errors, logs.

    A behaviour that is a coroutine answers once, or writes its stream through the context; grpc tells by itself.
    """

    def __init__(
        self, authorise: Authorise | None, shows: Shows | None, witness: Witness | None, quiet: frozenset[str]
    ) -> None:
        self._authorise = authorise
        self._shows = shows
        self._witness = witness
        self._quiet = quiet
        self._handlers: dict[str, Any] = {}
        """Of methods that were called, by path."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._handlers[method] = self._mannered(method, handler)
        return self._handlers[method]

    def _mannered(self, method: str, handler: Any) -> Any:
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        wrap = self._streaming if inspect.isasyncgenfunction(behaviour) else self._single
        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        read = handler.request_deserializer  # None: the behaviour takes bytes
        if read is not None:
            read = _reading(read) if handler.request_streaming else _reading_one(read)
        return kind(wrap(method, behaviour), read, handler.response_serializer)

    async def _let_in(self, method: str, context: Any, request: Any) -> None:
        if isinstance(request, _Unread):
            raise _bad_message(request.why)
        if self._authorise is not None:
            await self._authorise(method, context, request)
        if isinstance(request, Message):
            refuse_bad_times(request)

    async def _tell(self, record: _Call, context: Any, request: Any) -> None:
        """Once, though its caller go away meanwhile."""
        if self._witness is not None and not record.told:
            record.told = True
            await self._witness(record.method, context, request, record.code, record.reason)

    def _single(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            record = _Call(method, time.monotonic())
            try:
                await self._let_in(method, context, request)
                answer = await behaviour(request, context)
                await self._tell(record, context, request)
                return answer
            except Exception as error:  # the life of a call ends here
                refusal = _refusal(error, record)
                await self._tell(record, context, request)
            except asyncio.CancelledError:
                record.code = "CANCELLED"
                await self._tell(record, context, request)
                raise
            finally:
                self._log(record)
            await _refuse(context, refusal)
            return None

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            record = _Call(method, time.monotonic())
            try:
                await self._let_in(method, context, request)
                judged_s = time.monotonic()
                async for response in behaviour(request, context):
                    if time.monotonic() >= judged_s + JUDGED_AGAIN_S:
                        await self._let_in(method, context, request)
                        judged_s = time.monotonic()
                    if self._shows is None or self._shows(method, response):
                        yield response
                await self._tell(record, context, request)
                return
            except Exception as error:  # the life of a call ends here
                refusal = _refusal(error, record)
                await self._tell(record, context, request)
            except (asyncio.CancelledError, GeneratorExit):
                record.code = "CANCELLED"
                raise
            finally:
                self._log(record)
            await _refuse(context, refusal)

        return call

    def _log(self, record: _Call) -> None:
        write = log.debug if record.code in ("OK", "CANCELLED") and record.method in self._quiet else log.info
        took_ms = round((time.monotonic() - record.started) * 1000, 1)
        write("rpc", method=record.method, code=record.code, reason=record.reason or None, took_ms=took_ms)


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Raises Invalid(BAD_MESSAGE), as a MeshError where the behaviour reads its stream."""

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            raise _bad_message(str(error)) from error

    return read


def _reading_one(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Returns what is wrong, for `_let_in` to raise: grpc would answer what a deserializer raises with UNKNOWN."""

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            return _Unread(str(error))

    return read


def _bad_message(why: str) -> Invalid:
    hint = "generate the client from the protos of this version"
    return Invalid("BAD_MESSAGE", f"the request is no message of its method: {why}", hint)


def _refusal(error: Exception, record: _Call) -> status_pb2.Status | None:
    """What an exception is to the caller; None where the service has aborted the call itself."""
    if isinstance(error, grpc.aio.AbortError):
        _part(error)
        record.code = "ABORTED_BY_SERVICE"
        return None
    if isinstance(error, grpc.RpcError):
        error = from_rpc_error(error)
    if not isinstance(error, MeshError):
        request_id = os.urandom(6).hex()
        log.error("rpc_failed", method=record.method, request_id=request_id, exc_info=error)
        hint = "its traceback stands in the server's log"
        error = Internal("INTERNAL", f"internal error, request {request_id}", hint, request=request_id)
    record.code, record.reason = error.code.name, error.reason
    return to_status(error)


async def _refuse(context: Any, refusal: status_pb2.Status | None) -> None:
    if refusal is None:
        return
    details = ((DETAILS_KEY, refusal.SerializeToString()),)
    try:
        await context.abort(grpc_code(Status(refusal.code)), refusal.message, details)
    except grpc.aio.AbortError as error:
        _part(error)


def _part(error: grpc.aio.AbortError) -> None:
    """From the frames that it went through: grpc keeps it with the call, and raises it anew when the behaviour has
    returned. With them it would hold the call, and the request, until the garbage collector came by."""
    error.__traceback__ = error.__context__ = None
