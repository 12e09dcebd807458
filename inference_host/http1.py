"""A small HTTP/1.1 server on asyncio: bytes to `Request` (http1_core), `Response` to bytes, the life of connections.

    respond(Request) -> Response      what the application gives; it answers its own errors

One task per connection takes one request after the other, so pipelined requests are answered in order by nature.
While one is being answered at most `READ_AHEAD_BYTES` of the next are read. A client that goes away cancels what it
asked for.

Every wait has an end: a connection may idle, must then send a request whole, and must take its answer, each within its
time. Draining stops listening, tells busy clients `Connection: close` with their answer, and gives idle connections
`LINGER_S`: a request that was on its way meanwhile gets a proper answer (the application says 503) and no reset.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

import structlog

from inference_host.http1_core import Parser, Refusal, Request
from mesh.clock import now

log = structlog.get_logger()

READ_AHEAD_BYTES = 64 << 10  # of pipelined requests while one is answered
LINGER_S = 0.2  # longer than any packet is on its way between a gateway and us
HANG_UP_S = 1.0  # for a client to read why it was refused
JOIN_BYTES_MAX = 64 << 10  # below it, copying an answer together is cheaper than a second system call


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int
    """Of one request."""
    idle_s: float = 75.0
    """Between two requests. Above the 60 s after which gateways let go of theirs, so that none is closed under them."""
    request_s: float = 60.0
    """From a request's first byte to its last: one megabyte a second for the largest."""
    write_s: float = 60.0
    """For a client to take its answer."""
    connections: int = 1024
    """At once; a gateway holds a few dozen."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: Sequence[bytes] = ()
    """Parts, sent one after the other."""
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"


Respond: TypeAlias = Callable[[Request], Awaitable[Response]]
Refuse: TypeAlias = Callable[[int, str], Response]


class Server:
    """Listens, and keeps its connections' tasks in the caller's group."""

    def __init__(self, respond: Respond, refuse: Refuse, limits: Limits, tasks: asyncio.TaskGroup) -> None:
        """refuse: the answer to what is no request, from a status and a sentence."""
        self.respond = respond
        self.refuse = refuse
        self.limits = limits
        self.tasks = tasks
        self.draining = False
        self.connections: set[Connection] = set()
        self.empty = asyncio.Event()
        self.empty.set()
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[Path] = []

    async def listen_tcp(self, host: str, port: int) -> int:
        """Port 0: one of the kernel's choice. Returns the port. Raises: OSError."""
        listener = await asyncio.get_running_loop().create_server(lambda: Connection(self), host, port)
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: Path) -> None:
        """A socket file that nobody else may open; one left behind by a dead process is replaced. Raises: OSError."""
        _remove_stale(path)
        listener = await asyncio.get_running_loop().create_unix_server(lambda: Connection(self), path)
        os.chmod(path, 0o600)
        self._listeners.append(listener)
        self._sockets.append(path)

    async def drain(self, grace_s: float) -> None:
        """Returns when the last connection is gone; those that still are after `grace_s` seconds are cut."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for path in self._sockets:
            _remove_stale(path)
        for connection in list(self.connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.empty.wait()
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = Parser(server.limits.body_bytes)
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._busy = False
        self._reading = True
        self._refused = False
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        server = self._server
        full = len(server.connections) >= server.limits.connections
        server.connections.add(self)
        server.empty.clear()
        self._task = server.tasks.create_task(self._live(full), name="http1-connection")

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._parser.feed(data)
        self._more.set()
        if self._busy and self._reading and self.read_ahead_bytes > READ_AHEAD_BYTES:
            self._transport.pause_reading()
            self._reading = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if not self._server.connections:
            self._server.empty.set()
        self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def read_ahead_bytes(self) -> int:
        """Bytes of requests that wait for the one under way."""
        return self._parser.buffered_bytes

    def drain(self) -> None:
        """Ends after the answer under way, or after a moment where there is none."""
        if not self._busy:
            self._loop.call_later(LINGER_S, self._close_if_idle)

    def abort(self) -> None:
        self._transport.abort()

    def _close_if_idle(self) -> None:
        """A request that is coming in is waited for, and answered."""
        if not self._busy and self._parser.idle:
            self._transport.close()

    async def _live(self, refused: bool) -> None:
        """The connection's task. Nothing leaves it: its group is the whole server's."""
        try:
            if refused:
                raise Refusal(503, f"{self._server.limits.connections} connections are open already")
            await self._serve()
        except Refusal as refusal:
            await self._hang_up(refusal)
        except TimeoutError:  # it did not take its answer
            self._transport.abort()
        except Exception as error:  # the life of a connection ends here
            log.error("connection_failed", exc_info=error)
        finally:
            self._transport.close()

    async def _serve(self) -> None:
        """One request after the other. Raises: Refusal, TimeoutError."""
        while (request := await self._next_request()) is not None:
            self._busy = True
            keep = await self._answer(request)
            self._busy = False
            if not keep:
                return

    async def _hang_up(self, refusal: Refusal) -> None:
        """The last answer. Closing at once, on bytes that the client still sends, would reset the answer away."""
        self._refused = True
        with contextlib.suppress(TimeoutError):
            await self._send(self._server.refuse(refusal.status, refusal.message), keep=False)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        await asyncio.sleep(HANG_UP_S)  # cancelled when the client closes

    async def _next_request(self) -> Request | None:
        """None where the client has nothing more to say. Raises: Refusal."""
        limits = self._server.limits
        idle = True
        try:
            async with asyncio.timeout(limits.idle_s) as patience:
                while (request := self._parser.next()) is None:
                    if idle and not self._parser.idle:
                        idle = False
                        patience.reschedule(self._loop.time() + limits.request_s)
                    if self._parser.awaits_continue:
                        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    await self._more_bytes()
        except TimeoutError:
            if idle:
                return None
            raise Refusal(408, f"the request was not whole after {limits.request_s:g} s") from None
        return request

    async def _more_bytes(self) -> None:
        if not self._reading:
            self._transport.resume_reading()
            self._reading = True
        self._more.clear()
        await self._more.wait()

    async def _answer(self, request: Request) -> bool:
        """Whether the connection lives on."""
        try:
            response = await self._server.respond(request)
        except Exception as error:  # the life of a request ends here
            log.error("request_failed", method=request.method, target=request.target, exc_info=error)
            response = self._server.refuse(500, "internal error; its traceback stands in the server's log")
        keep = request.keep_alive and not self._server.draining
        await self._send(response, keep=keep, head_only=request.method == "HEAD")
        return keep

    async def _send(self, response: Response, *, keep: bool, head_only: bool = False) -> None:
        """Raises: TimeoutError where the client does not take it."""
        parts = [_head(response, keep=keep), *(() if head_only else response.body)]
        if sum(map(len, parts)) <= JOIN_BYTES_MAX:
            self._transport.write(b"".join(parts))
        else:
            for part in parts:
                self._transport.write(part)
        if not self._writable.is_set():
            async with asyncio.timeout(self._server.limits.write_s):
                await self._writable.wait()


def _remove_stale(path: Path) -> None:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()


def _head(response: Response, *, keep: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_phrase(response.status)}",
        f"date: {_date(int(now()))}",
        f"content-type: {response.content_type}",
        f"content-length: {sum(map(len, response.body))}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if not keep:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


_last_date = (0, "")


def _date(second: int) -> str:
    """Formatting it takes longer than a small model: once a second is enough."""
    global _last_date
    if _last_date[0] != second:
        _last_date = (second, formatdate(second, usegmt=True))
    return _last_date[1]
