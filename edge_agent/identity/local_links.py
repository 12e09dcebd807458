"""How monitors reach this agent (link 2), and hosts their monitor (link 3): on Unix sockets, or over mutual TLS.

On one machine a directory that nobody else may open is all the identity that is needed (`SocketLinks`). Off the
machine (`TlsLinks`, by the setting `link_listen`) the agent listens on TCP, gives each monitor a port of its range, and
certifies everybody. The certificates of one position lie in its directory, one directory for each process:

    <data_dir>/positions/<uid>/identities/<replica> or monitor/   certificate.pem  key.pem  roots.pem

They are renewed there at half of their life; whoever uses them reads them again whenever it dials or is dialled, so
nothing is restarted for it. A connection that stands outlives the certificates it began with, as TLS has it.

Sockets are served in either case, so what was started before the setting was changed goes on. Hosts are replaced then,
one version beside the other as in any rollout, because the way to their monitor is part of what they are started with.
"""

import asyncio
import hashlib
import math
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from edge_agent.drivers.base import MONITOR, TcpLinks
from edge_agent.identity.authority import Leaf, LinkAuthority
from edge_agent.identity.enrolment import Enrolment
from edge_agent.machine.layout import PositionPaths
from edge_agent.machine.storage import storage_errors
from edge_agent.position.record import Record
from mesh import clock, serve
from mesh.files import private_directory, write_atomically
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity, LiveIdentity
from mesh.serve import split_address
from mesh.spiffe import agent_dns, agent_name, host_dns, host_name, monitor_dns, monitor_name
from mesh.waiting import news_within

if TYPE_CHECKING:
    import grpc.aio

log = structlog.get_logger()

LOOK_S = 60.0  # a wall clock may jump: nobody sleeps for long by it


class Links(Protocol):
    """What workers and the agent ask; the two kinds differ in nothing else."""

    over_tcp: bool
    """Whether each monitor needs a port."""

    def variant(self, variant: str) -> str:
        """Of hosts that are started like this."""

    def plan(self, record: Record) -> TcpLinks | None:
        """For the driver; None: Unix sockets."""

    def certify(self, record: Record, paths: PositionPaths, ids: Collection[str]) -> None:
        """MONITOR and these replicas have good certificates, and nobody else has any.

        Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED).
        """

    def due_in_s(self, uid: str) -> float:
        """Seconds until one of this position has to be made anew; infinite where there is none."""

    def forget(self, uid: str) -> None:
        """The position is gone, and its directory with it."""

    def listen(self, server: "grpc.aio.Server") -> None:
        """Raises: Precondition(ADDRESS_IN_USE | BAD_ADDRESS)."""

    def follow(self, enrolment: Enrolment) -> None:
        """The control plane has certified this agent anew."""

    async def run(self) -> None:
        """Cancel it to end."""


class SocketLinks:
    over_tcp = False

    def variant(self, variant: str) -> str:
        return variant

    def plan(self, record: Record) -> TcpLinks | None:
        return None

    def certify(self, record: Record, paths: PositionPaths, ids: Collection[str]) -> None:
        """Nobody needs one any more."""
        if paths.identities.exists():
            shutil.rmtree(paths.identities, ignore_errors=True)

    def due_in_s(self, uid: str) -> float:
        return math.inf

    def forget(self, uid: str) -> None: ...

    def listen(self, server: "grpc.aio.Server") -> None: ...

    def follow(self, enrolment: Enrolment) -> None: ...

    async def run(self) -> None: ...


class TlsLinks:
    """listen: ip:port of the agent. advertised: host by which it and its monitors are reached."""

    over_tcp = True

    def __init__(self, authority: LinkAuthority, listen: str, advertised: str) -> None:
        self._authority = authority
        self._listen = listen
        self._host, self._port = split_address(listen)
        self._advertised = advertised or self._host
        self._leaves: dict[str, dict[str, Leaf]] = {}
        """By uid, and by id of the process. Made anew when the agent starts: nothing is gained by reading them."""
        self._own = self._for_agent()
        self._shown = LiveIdentity(self._own.identity)
        self._news = asyncio.Event()

    def variant(self, variant: str) -> str:
        shape, at, software = variant.partition("@")
        return hashlib.sha256(f"{shape}\0{self._advertised}".encode()).hexdigest()[:8] + at + software

    def plan(self, record: Record) -> TcpLinks | None:
        if not record.monitor_port:
            return None
        return TcpLinks(
            edge_server=self._authority.edge_server,
            agent=_address(self._advertised, self._port),
            monitor=_address(self._advertised, record.monitor_port),
            monitor_listen=_address(self._host, record.monitor_port),
        )

    def certify(self, record: Record, paths: PositionPaths, ids: Collection[str]) -> None:
        leaves = self._leaves.setdefault(record.uid, {})
        wanted = {MONITOR, *ids}
        with storage_errors(paths.identities):
            for id_ in sorted(wanted):
                held, directory = leaves.get(id_), paths.identity(id_)
                if held is None or self._authority.is_due(held) or not (directory / ROOTS).exists():
                    leaves[id_] = self._for(record.uid, id_)
                    write_identity(directory, leaves[id_].identity)
            for directory in paths.identities.glob("*"):
                if directory.name not in wanted:
                    leaves.pop(directory.name, None)
                    shutil.rmtree(directory, ignore_errors=True)

    def due_in_s(self, uid: str) -> float:
        due = min((leaf.renew_at for leaf in self._leaves.get(uid, {}).values()), default=math.inf)
        return due - clock.now()

    def forget(self, uid: str) -> None:
        self._leaves.pop(uid, None)

    def listen(self, server: "grpc.aio.Server") -> None:
        serve.listen(server, self._listen, self._shown, mutual=True)
        log.info("links_over_tls", listen=self._listen, advertised=self._advertised)

    def follow(self, enrolment: Enrolment) -> None:
        self._authority.follow(enrolment)
        self._news.set()

    async def run(self) -> None:
        """Keeps the agent's own certificate young."""
        while True:
            self._news.clear()
            if self._authority.is_due(self._own):
                self._own = self._for_agent()
                self._shown.current = self._own.identity
            await news_within(self._news, min(LOOK_S, max(0.0, self._own.renew_at - clock.now())))

    def _for_agent(self) -> Leaf:
        edge_server = self._authority.edge_server
        return self._authority.issue(agent_name(edge_server), agent_dns(edge_server))

    def _for(self, uid: str, id_: str) -> Leaf:
        edge_server = self._authority.edge_server
        if id_ == MONITOR:
            return self._authority.issue(monitor_name(edge_server, uid), monitor_dns(edge_server, uid))
        return self._authority.issue(host_name(edge_server, uid, id_), host_dns(edge_server, uid, id_))


def write_identity(directory: Path, identity: Identity) -> None:
    """As mesh.identity reads it; the key first, and each file as a whole. Raises: OSError."""
    private_directory(directory.parent)
    private_directory(directory)
    for name, content in ((KEY, identity.key), (CERTIFICATE, identity.certificate), (ROOTS, identity.roots)):
        write_atomically(directory / name, content)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
