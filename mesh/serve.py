"""A gRPC server of the mesh, where it may listen, and a component's life from its start to SIGTERM.

All servers treat calls alike (manners.py). Nothing listens beyond loopback without TLS unless the caller says so
explicitly, and nobody is pushed from an address: who holds one already is named.
"""

import asyncio
import errno
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from mesh import logs
from mesh.files import SOCKET_PATH_BYTES_MAX
from mesh.identity import Identity, LiveIdentity
from waypost.errors import MeshError, Precondition
from waypost.rpc import MESSAGE_BYTES_MAX

if TYPE_CHECKING:  # 8 MB, which hosts have no use for
    import grpc.aio

    from mesh.manners import Authorise, Shows, Witness

log = structlog.get_logger()

KEEPALIVE_MS = 30_000  # finds dead peers behind NAT; the links' own heartbeats are quicker


def grpc_server(
    *,
    authorise: "Authorise | None" = None,
    shows: "Shows | None" = None,
    witness: "Witness | None" = None,
    quiet: frozenset[str] = frozenset(),
    receives_bytes_max: int = MESSAGE_BYTES_MAX,
) -> "grpc.aio.Server":
    """An asyncio gRPC server with the mesh's errors and logs.

    quiet: paths of methods whose successful calls are logged at debug level only.
    receives_bytes_max: of one message. It is read, and parsed, before anybody asks who sent it.
    """
    import grpc.aio

    from mesh.manners import Manners

    options = [
        ("grpc.so_reuseport", 0),  # two processes must never share a port unnoticed
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", receives_bytes_max),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 3),
    ]
    return grpc.aio.server(interceptors=[Manners(authorise, shows, witness, quiet)], options=options)


def listen(
    server: "grpc.aio.Server",
    address: str,
    identity: Identity | LiveIdentity,
    *,
    mutual: bool = False,
    insecure_flag: str = "",
    insecure: bool = False,
) -> str:
    """Binds `unix:/path` or `host:port` (port 0: one of the kernel's choice); returns the address bound.

    mutual: ask every client for a certificate. insecure: plaintext beyond loopback was asked for by `insecure_flag`.
    Raises: Precondition(ADDRESS_IN_USE) naming the holder, Precondition(INSECURE_ADDRESS | BAD_ADDRESS).
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


def _listen_unix(server: "grpc.aio.Server", path: Path) -> str:
    """A socket file that nobody else may open."""
    free_socket(path)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:  # grpc does not say why
        raise _bad_socket(path, "it cannot be made", "use a directory that this process may write to") from error
    path.chmod(0o600)
    return f"unix:{path}"


def free_socket(path: Path) -> None:
    """Makes way for a server at `unix:<path>`: what a dead process left there is removed.

    Raises: Precondition(ADDRESS_IN_USE) where somebody listens there; Precondition(BAD_ADDRESS) where nobody could.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise _bad_socket(path, f"the path is longer than {SOCKET_PATH_BYTES_MAX} bytes", "use a shorter one")
    if _is_served(path):
        raise _in_use(f"unix:{path}", None)
    try:
        if not path.parent.is_dir():
            raise _bad_socket(path, "its directory does not exist", "make it, or use another one")
        if path.exists() and not path.is_socket():
            raise _bad_socket(path, "something that is no socket has this name", "use another one")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _bad_socket(path, str(error), "use a directory that this process may write to") from error


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)  # EAGAIN: there is a server, and it is busy


def _bad_socket(path: Path, why: str, hint: str) -> Precondition:
    return Precondition("BAD_ADDRESS", f"cannot listen on unix:{path}: {why}", hint)


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
    """Raises: Precondition(ADDRESS_IN_USE) that names the process which holds the port; Precondition(BAD_ADDRESS)
    where the port cannot be had for another reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                message = f"cannot listen on {host}:{port}: {error.strerror or error}"
                raise Precondition(
                    "BAD_ADDRESS", message, "use an address of this machine and a port above 1023"
                ) from error
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
    return Precondition("ADDRESS_IN_USE", f"{address} is taken{by}", "stop it, or choose another one (see --help)")


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
    gc.collect()  # grpc closes with the last of its objects: one that is left in a cycle holds the exit up for 2 s
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
