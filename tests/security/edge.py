"""An edge server as an attacker meets it: a real agent with links over TLS, Envoy, and two positions of two tenants.

The control plane is the scripted one of tests/integration/agent_world.py, so the tests hold the mesh's root and can
make any certificate that somebody might come with.
"""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from control_plane.identity.authority import Authority
from edge_agent.state.ledger import Ledger
from mesh import certificates, clock
from mesh.certificates import Signer
from mesh.identity import ROOTS
from mesh.spiffe import authority_title, edge_domain
from tests import models
from tests.integration.agent_world import (
    POSITION,
    UID,
    AgentProcess,
    ControlPlane,
    assignment,
    until,
    version,
    world,
)
from tests.ports import free_port
from waypost.api.link.v1.agent_link_pb2 import TokenHash
from waypost.rpc import Tls

HERE, ELSEWHERE = "edge-1", "edge-2"
OTHER = "projects/q/applications/b/positions/tower-8"
OTHER_UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002"
OURS, THEIRS, EXPIRED = "wp1_ours", "wp1_theirs", "wp1_expired"
"""Application tokens: of the position's own application, of another tenant's, and one that was good an hour ago."""
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Edge:
    """Both positions are in service."""

    plane: ControlPlane
    agent: AgentProcess
    link_port: int

    @property
    def agent_link(self) -> str:
        return f"127.0.0.1:{self.link_port}"

    @property
    def monitor_link(self) -> str:
        """Of the first position."""
        return self.monitor_links[0]

    @property
    def monitor_links(self) -> list[str]:
        """Of both."""
        records = Ledger(self.agent.data_dir / "ledger").records
        return [f"127.0.0.1:{records[uid].monitor_port}" for uid in (UID, OTHER_UID)]

    @property
    def pids(self) -> list[int]:
        """Of everything that runs here: agent, gateway, monitors and hosts."""
        found = [int(path.read_text()) for path in self.agent.data_dir.rglob("pid")]
        return [*found, int((self.agent.data_dir.parent / "agent" / "pid").read_text())]

    @property
    def sockets(self) -> Path:
        """Of the first position."""
        return self.agent.data_dir / "run" / UID.partition("-")[0]

    @property
    def replica(self) -> str:
        """Of the first position."""
        return next(path.name for path in (self.home(UID) / "hosts").iterdir())

    @property
    def roots(self) -> bytes:
        """That its own monitors trust."""
        return (self.home(UID) / "identities" / "monitor" / ROOTS).read_bytes()

    def home(self, uid: str) -> Path:
        return self.agent.data_dir / "positions" / uid

    def key(self, uid: str) -> bytes:
        """That access tokens of a position are signed with."""
        return (self.home(uid) / "signing_key.pem").read_bytes()

    @property
    def authority(self) -> Signer:
        """The agent's."""
        held = self.agent.enrolment()
        certificate = x509.load_pem_x509_certificate(held.authority_certificate)
        return Signer(certificate, certificates.read_key(held.authority_key))

    @property
    def foreign_authority(self) -> Signer:
        """Of another edge server, under the same root."""
        key = certificates.new_key()
        signed = self.plane.authority.issue_authority(certificates.request_for(key), ELSEWHERE, now=clock.now())
        return Signer(x509.load_pem_x509_certificate(signed.encode()), key)

    def strangers_authority(self, directory: Path) -> Signer:
        """Of an edge server of this name, under another root."""
        key = certificates.new_key()
        stranger = Authority.open(directory, now=clock.now())
        signed = stranger.issue_authority(certificates.request_for(key), HERE, now=clock.now())
        return Signer(x509.load_pem_x509_certificate(signed.encode()), key)

    def unsigned_authority(self) -> Signer:
        """Somebody who calls himself this agent, and whom nobody has signed."""
        key = certificates.new_key()
        return Signer(certificates.self_signed_authority(key, authority_title(HERE), edge_domain(HERE)), key)

    def as_(self, signer: Signer, spiffe: str, dns: str, *, age: timedelta = timedelta()) -> Tls:
        """Somebody whom `signer` certified as `spiffe`, for a day, so long ago; it believes this edge server."""
        key = certificates.new_key()
        dated = clock.now() - age.total_seconds()
        leaf = signer.leaf(key.public_key(), dns, spiffe, now=dated, life=DAY, names=[dns])
        return Tls(self.roots, certificates.pem(leaf, signer.certificate), certificates.private_pem(key))


@contextmanager
def edge_server(directory: Path) -> Iterator[Edge]:
    """Lives on a thread of its own, so that tests of many kinds may share it."""
    ready, done = threading.Event(), threading.Event()
    found: list[Edge] = []

    async def live() -> None:
        port = free_port()
        async with world(directory, "--link-listen", f"127.0.0.1:{port}") as (plane, agent):
            model = version(plane, "1", models.affine(directory / "affine.onnx", scale=2.0))
            plane.assign(
                assignment(model, tokens=[_token(OURS), _token(EXPIRED, ended_s=clock.now() - 3600)]),
                assignment(model, position=OTHER, uid=OTHER_UID, tokens=[_token(THEIRS)]),
            )
            await until(lambda: {plane.state(name) for name in (POSITION, OTHER)} == {"IN_SERVICE"}, agent)
            found.append(Edge(plane, agent, port))
            ready.set()
            await asyncio.to_thread(done.wait)

    def run() -> None:
        try:
            asyncio.run(live())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        assert found, "the edge server did not come up: its thread has said why"
        yield found[0]
    finally:
        done.set()
        thread.join()


def _token(secret: str, ended_s: float = 0.0) -> TokenHash:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return TokenHash(credential=f"credentials/{secret}", sha256=digest, expire_unix_s=int(ended_s))
