"""A gRPC server of the mesh, and a component's life from its start to SIGTERM.

Every server answers errors the same way: a MeshError becomes `google.rpc.Status` with its reason, message and hint;
anything else is logged with its traceback and answered with INTERNAL and the id of the request, nothing more. Every
call leaves one log line. Nothing listens beyond loopback without TLS unless the caller says so explicitly.
"""

import asyncio
import inspect
import ipaddress
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog

from mesh import logs
from mesh.identity import Identity
from waypost.errors import Internal, MeshError, Precondition
from waypost.rpc import MESSAGE_BYTES_MAX, from_rpc_error, to_status
from waypost.rpc.status import DETAILS_KEY

log = structlog.get_logger()

Authorise = Callable[[str, Any], Awaitable[None]]
"""Called with the method's path and the call's context before anything else; raises MeshError to refuse."""

KEEPALIVE_MS = 30_000  # finds dead peers behind NAT; the links' own heartbeats are quicker


def grpc_server(*, authorise: Authorise | None = None, quiet: frozenset[str] = frozenset()) -> grpc.aio.Server:
    """An asyncio gRPC server with the mesh's errors and logs.

    quiet: paths of methods whose successful calls are logged at debug level only.
    """
    options = [
        ("grpc.so_reuseport", 0),  # two processes must never share a port unnoticed
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 3),
    ]
    return grpc.aio.server(interceptors=[_Manners(authorise, quiet)], options=options)


def listen(
    server: grpc.aio.Server,
    address: str,
    identity: Identity,
    *,
    mutual: bool = False,
    insecure_flag: str = "",
    insecure: bool = False,
) -> str:
    """Binds `unix:/path` or `host:port` (port 0: one of the kernel's choice); returns the address bound.

    mutual: ask every client for a certificate. insecure: plaintext beyond loopback was asked for by `insecure_flag`.
    Raises: Precondition(ADDRESS_IN_USE) naming the holder, Precondition(INSECURE_ADDRESS).
    """
    if address.startswith("unix:"):
        return _listen_unix(server, Path(address.removeprefix("unix:")))
    host, port = split_address(address)
    if identity.is_local and not is_loopback(host):
        refuse_insecure(address, insecure=insecure, insecure_flag=insecure_flag)
    refuse_taken(host, port)
    try:
        if identity.is_local:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, identity.server_credentials(mutual=mutual))
    except RuntimeError as error:
        raise _in_use(address, None) from error
    return f"{host if ':' not in host else f'[{host}]'}:{bound}"


def _listen_unix(server: grpc.aio.Server, path: Path) -> str:
    """A socket file that nobody else may open; one left behind by a dead process is replaced."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:  # too long a path (108 bytes), a missing directory
        raise Precondition("BAD_ADDRESS", f"cannot listen on unix:{path}", "use a shorter path that exists") from error
    path.chmod(0o600)
    return f"unix:{path}"


def split_address(address: str) -> tuple[str, int]:
    """`("127.0.0.1", 7600)` for `127.0.0.1:7600`. Raises: Precondition(BAD_ADDRESS)."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise Precondition("BAD_ADDRESS", f"{address!r} is not an address", "write host:port or unix:/path")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_insecure(address: str, *, insecure: bool, insecure_flag: str) -> None:
    """Warns where plaintext beyond loopback was asked for, else raises Precondition(INSECURE_ADDRESS)."""
    if insecure:
        log.warning("listening_without_tls", address=address, reason=f"{insecure_flag} was given")
        return
    hint = "listen on 127.0.0.1, or give a certificate"
    if insecure_flag:
        hint += f", or say {insecure_flag} if everybody on that network may read and change what is sent"
    raise Precondition("INSECURE_ADDRESS", f"{address} is reachable from other machines and there is no TLS", hint)


def refuse_taken(host: str, port: int) -> None:
    """Raises: Precondition(ADDRESS_IN_USE) that names the process which holds the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _in_use(f"{host}:{port}", holder_of(port)) from error


def holder_of(port: int) -> str | None:
    """`python (pid 4711)` that listens on a TCP port of this machine; None where we may not see it."""
    import psutil  # 4 MB; needed only when something is wrong

    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def _in_use(address: str, holder: str | None) -> Precondition:
    by = f" by {holder}" if holder else ""
    return Precondition("ADDRESS_IN_USE", f"{address} is taken{by}", "stop it, or choose another port (see --help)")


def run(component: str, main: Callable[[asyncio.Event], Awaitable[None]], *, log_level: str = "info") -> int:
    """Runs `main` to its end; SIGTERM and SIGINT set the event, a second one ends at once. Returns the exit code.

    A MeshError ends the process with `error: ...` and its hint on stderr and code 1.
    """
    logs.configure(component, level=log_level)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its goaway chatter is not for operators
    failed: list[MeshError] = []
    try:
        asyncio.run(_main(main))
    except* MeshError as errors:
        failed = _leaves(errors)
    for error in failed:
        sys.stderr.write(render(error))
    return 1 if failed else 0


def render(error: MeshError) -> str:
    """What a person sees of an error."""
    hint = f"\nhint: {error.hint}\n" if error.hint else ""
    return f"error: {error.message}\n{hint}"


async def _main(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await main(stop)


def _leaves(group: BaseExceptionGroup[MeshError]) -> list[MeshError]:
    found: list[MeshError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


@dataclass(slots=True)
class _Call:
    """What the one log line of a call says."""

    method: str
    started: float
    code: str = "OK"
    reason: str = ""


class _Manners(grpc.aio.ServerInterceptor):
    """Authorises, translates errors, logs.

    A behaviour that is a coroutine answers once, or writes its stream through the context; grpc tells by itself.
    """

    def __init__(self, authorise: Authorise | None, quiet: frozenset[str]) -> None:
        self._authorise = authorise
        self._quiet = quiet

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        wrap = self._streaming if inspect.isasyncgenfunction(behaviour) else self._single
        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        return kind(wrap(method, behaviour), handler.request_deserializer, handler.response_serializer)

    def _single(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            record = _Call(method, time.monotonic())
            try:
                if self._authorise is not None:
                    await self._authorise(method, context)
                return await behaviour(request, context)
            except Exception as error:  # the life of a call ends here
                await _abort(context, error, record)
            except asyncio.CancelledError:
                record.code = "CANCELLED"
                raise
            finally:
                self._log(record)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            record = _Call(method, time.monotonic())
            try:
                if self._authorise is not None:
                    await self._authorise(method, context)
                async for response in behaviour(request, context):
                    yield response
            except Exception as error:  # the life of a call ends here
                await _abort(context, error, record)
            except (asyncio.CancelledError, GeneratorExit):
                record.code = "CANCELLED"
                raise
            finally:
                self._log(record)

        return call

    def _log(self, record: _Call) -> None:
        write = log.debug if record.code in ("OK", "CANCELLED") and record.method in self._quiet else log.info
        took_ms = round((time.monotonic() - record.started) * 1000, 1)
        write("rpc", method=record.method, code=record.code, reason=record.reason or None, took_ms=took_ms)


async def _abort(context: Any, error: Exception, record: _Call) -> None:
    if isinstance(error, grpc.aio.AbortError):
        record.code = "ABORTED_BY_SERVICE"
        raise error
    if isinstance(error, grpc.RpcError):
        error = from_rpc_error(error)
    if not isinstance(error, MeshError):
        request_id = os.urandom(6).hex()
        log.error("rpc_failed", method=record.method, request_id=request_id, exc_info=error)
        hint = "its traceback stands in the server's log"
        error = Internal("INTERNAL", f"internal error, request {request_id}", hint, request=request_id)
    record.code, record.reason = error.code.name, error.reason
    status = to_status(error)
    await context.abort(error.code, status.message, ((DETAILS_KEY, status.SerializeToString()),))
