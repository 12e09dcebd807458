"""One port, two protocols: listeners, and what becomes of a connection until it has said what it speaks.

    plaintext   HTTP/2 with prior knowledge where the first bytes are its preface (RFC 9113, section 3.3), else HTTP/1.1
    TLS         the same behind a handshake that knows both (ALPN, RFC 7301)

A connection is counted and bounded in time from the moment it is accepted, also while it shakes hands. From then on it
is h2's or http1's, which this module knows as two factories of protocols.
"""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog

from inference_host.transport.connections import REFUSED_MAX, TICK_S, Connection, Connections
from mesh import serve
from waypost.errors import Precondition

log = structlog.get_logger()

# For TLS, the preferred first. gRPC's clients offer h2 alone. Who offers both (curl, Go, Java's own) speaks plain HTTP,
# which is HTTP/1.1 here.
PROTOCOLS = ("http/1.1", "h2")

BACKLOG = 512  # connections that wait to be accepted: half of all places, for a gateway that comes back
FILES_KEPT = 128  # file descriptors that are not connections: models, logs, the link, listeners
PREFACE_START = b"PRI "  # no method of HTTP/1.1 is called PRI (RFC 9113, section 3.4); h2 checks the rest
LINGER_S = 0.2  # for a connection that says nothing while we drain: its first bytes may be on their way


class Spoken(Connection, Protocol):
    """A connection that has found its protocol, as asyncio sees it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None:
        """What was read before the protocol was known."""

    def connection_lost(self, exc: Exception | None) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


Speak: TypeAlias = Callable[[bool], Spoken]
"""Makes the protocol of one connection. True: there is no place for it, which it should say and end."""


class Server:
    """Made inside its event loop; its handshakes are tasks of the caller's group."""

    def __init__(self, connections: Connections, http2: Speak, http1: Speak, tasks: asyncio.TaskGroup) -> None:
        self.connections = connections
        self.speak = {"h2": http2, "http/1.1": http1}
        self.tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[tuple[Path, int]] = []
        self._tick()

    async def listen(self, address: str, context: ssl.SSLContext | None = None) -> str:
        """Accepts connections at `unix:/path` or `host:port` (port 0: any). Returns the address as bound.

        Raises: Precondition(ADDRESS_IN_USE) naming the holder, Precondition(BAD_ADDRESS).
        """
        taker = bound(address)
        if address.startswith("unix:"):
            self._sockets.append((Path(address.removeprefix("unix:")), _inode(address.removeprefix("unix:"))))
        await self.take_from(taker, context, BACKLOG)
        return address if address.startswith("unix:") else shown(taker)

    async def take_from(self, taker: socket.socket, context: ssl.SSLContext | None, at_once: int) -> None:
        """Accepts connections at a bound socket, up to `at_once` in one turn of the loop."""
        listener = await self._loop.create_server(lambda: _Greeter(self, context), sock=taker, backlog=at_once)
        taker.listen(BACKLOG)  # asyncio lets as many wait as it takes at once
        self._listeners.append(listener)

    async def drain(self, grace_s: float) -> None:
        """Returns when the last connection is gone; those that still are after `grace_s` seconds are cut."""
        for listener in self._listeners:
            listener.close()
        for path, inode in self._sockets:
            if _inode(path) == inode:  # else it is our successor's already
                path.unlink(missing_ok=True)
        self.connections.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.connections.empty.wait()
        self.connections.abort()
        self._ticking.cancel()

    def _tick(self) -> None:
        self.connections.tick()
        self._ticking = self._loop.call_later(TICK_S, self._tick)


class _Greeter(asyncio.Protocol):
    """A connection that has not said what it speaks. context: TLS comes first."""

    def __init__(self, server: Server, context: ssl.SSLContext | None) -> None:
        self._server = server
        self._connections = server.connections
        self._context = context
        self._heard = b""
        self._full = False
        self._since = server.connections.now
        self._transport: asyncio.Transport
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._full = not self._connections.enter(self)
        if self._connections.draining:
            self.drain()
        if self._context is not None and not transport.is_closing():
            self._shaking = self._server.tasks.create_task(self._shake_hands(self._context), name="tls-handshake")

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if self._shaking is None:
            self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)

    @property
    def idle_since(self) -> float:
        return self._since

    def tick(self, now: float) -> None:
        if now - self._since > self._connections.limits.greeting_s:
            self.abort()

    def drain(self) -> None:
        asyncio.get_running_loop().call_later(LINGER_S, self._close_if_silent)

    def abort(self) -> None:
        self._transport.abort()
        if self._shaking is not None:
            self._shaking.cancel()

    def _close_if_silent(self) -> None:
        if self in self._connections:
            self.abort()

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        patience_s = self._connections.limits.greeting_s
        try:
            secure = await loop.start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=patience_s
            )
        except (OSError, ssl.SSLError) as error:  # TimeoutError and ConnectionError are OSErrors
            log.debug("tls_handshake_failed", error=str(error))
            self._connections.leave(self)
            return
        finally:
            self._shaking = None
        assert isinstance(secure, asyncio.Transport)
        self._transport = secure
        self._hand_over()

    def _hand_over(self) -> None:
        protocol = self._protocol()
        if protocol is None or self not in self._connections:
            return
        spoken = self._server.speak[protocol](self._full)
        self._connections.replace(self, spoken)
        self._transport.set_protocol(spoken)  # type: ignore[arg-type]
        spoken.connection_made(self._transport)
        if self._heard:
            spoken.data_received(self._heard)

    def _protocol(self) -> str | None:
        """None: it has not said enough."""
        secured = self._transport.get_extra_info("ssl_object")
        chosen: str | None = secured.selected_alpn_protocol() if secured is not None else None
        if chosen is not None:
            return chosen
        if len(self._heard) < len(PREFACE_START) and PREFACE_START.startswith(self._heard):
            return None
        return "h2" if self._heard.startswith(PREFACE_START) else "http/1.1"


def places(wanted: int) -> int:
    """How many connections this process may have at once, at most `wanted`; raises its own limit on files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + REFUSED_MAX + FILES_KEPT
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - REFUSED_MAX - FILES_KEPT))


def bound(address: str, *, shared: bool = False) -> socket.socket:
    """A socket at `unix:/path` or `host:port`, which does not listen yet. shared: others of this host join it there.

    Raises: Precondition(ADDRESS_IN_USE) naming the holder, Precondition(BAD_ADDRESS).
    """
    try:
        if address.startswith("unix:"):
            return _unix_socket(Path(address.removeprefix("unix:")))
        host, port = serve.split_address(address)
        serve.refuse_taken(host, port)
        return _tcp_socket(host, port, shared=shared)
    except OSError as error:
        hint = "choose another with --listen; the path of a Unix socket has at most 107 characters"
        raise Precondition("BAD_ADDRESS", f"cannot listen on {address}: {error}", hint) from error


def joined(address: str) -> socket.socket:
    """One more socket at a `host:port` that a process of this host has `bound` to share. Raises: OSError."""
    return _tcp_socket(*serve.split_address(address), shared=True)


def _tcp_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """Raises: OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    taker = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # by which asyncio knows to set TCP_NODELAY
    try:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taker.bind(address)
    except OSError:
        taker.close()
        raise
    return taker


def _unix_socket(path: Path) -> socket.socket:
    """A socket file that nobody else may open; one left behind by a dead process is replaced.

    Raises: OSError, Precondition(ADDRESS_IN_USE).
    """
    _remove_stale(path)
    taker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # from its first moment, not by a chmod afterwards
    try:
        taker.bind(str(path))
    except OSError:
        taker.close()
        raise
    finally:
        os.umask(before)
    return taker


def _remove_stale(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise Precondition("ADDRESS_IN_USE", f"unix:{path} is taken by a process that lives", "stop it first")


def _inode(path: Path | str) -> int:
    """0 where there is nothing."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def shown(taker: socket.socket) -> str:
    host, port = taker.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
