"""Who is on the other end at the edge: each peer that might come, at each link that is served over TLS.

A link is tried as its child would dial it: by a stub, with a Hello, until the parent has said Welcome or why not.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge_agent.identity.local_links import write_identity
from inference_host.uplink import CONNECT_HOST
from mesh import clock, serve
from mesh.certificates import Signer
from mesh.identity import Identity, client_context
from mesh.link import ChildWire, WireLost
from mesh.link_grpc import dial_grpc
from mesh.link_wire import dial_wire
from mesh.spiffe import CONTROL_PLANE, agent_dns, agent_name, host_dns, host_name, monitor_dns, monitor_name
from tests.integration.agent_world import POSITION, UID
from tests.security.calls import reason_of
from tests.security.edge import ELSEWHERE, HERE, OTHER_UID, Edge
from tests.security.test_peers import answered
from waypost.api.link.v1 import link_pb2
from waypost.api.link.v1.host_link_pb2_grpc import HostLinkServiceStub
from waypost.api.link.v1.monitor_link_pb2_grpc import MonitorLinkServiceStub
from waypost.errors import MeshError
from waypost.rpc import Tls, open_aio_channel
from waypost.rpc.wire_channel import WireChannel

REFUSED, WRONG_PEER, LET_IN = "refused in the handshake", "WRONG_PEER", "let in"


@dataclass(frozen=True)
class Link:
    """One that is served over TLS. Names are those of its parent and of its rightful child."""

    address: Callable[[Edge], str]
    connect: Callable[[Any], Any]
    parent_dns: Callable[[str], str]
    child: Callable[[Edge], str]
    """What the child calls itself in its Hello."""
    child_name: Callable[[str, str], str]
    """SPIFFE URI, of an edge server's id and a position's uid."""
    child_dns: Callable[[str, str], str]


REPLICA = "r-aaaaaa"


def links(edge: Edge) -> dict[str, Link]:
    replica = edge.replica
    return {
        "monitor to agent": Link(
            lambda edge: edge.agent_link,
            lambda channel: MonitorLinkServiceStub(channel).ConnectMonitor,
            agent_dns,
            lambda edge: POSITION,
            monitor_name,
            monitor_dns,
        ),
        "host to monitor": Link(
            lambda edge: edge.monitor_link,
            lambda channel: HostLinkServiceStub(channel).ConnectHost,
            lambda edge_server: monitor_dns(edge_server, UID),
            lambda edge: edge.replica,
            lambda edge_server, uid: host_name(edge_server, uid, replica),
            lambda edge_server, uid: host_dns(edge_server, uid, replica),
        ),
    }


Peer = Callable[[Edge, Link, Path], Tls | None]

PEERS: dict[str, tuple[Peer, str]] = {
    "the child itself": (
        lambda edge, link, _: edge.as_(edge.authority, link.child_name(HERE, UID), link.child_dns(HERE, UID)),
        LET_IN,
    ),
    "nobody, in plaintext": (lambda edge, link, _: None, REFUSED),
    "nobody, without a certificate": (lambda edge, link, _: Tls(edge.roots), REFUSED),
    "the child of a mesh with another root": (
        lambda edge, link, path: edge.as_(
            edge.strangers_authority(path), link.child_name(HERE, UID), link.child_dns(HERE, UID)
        ),
        REFUSED,
    ),
    "whom an authority certified that nobody has signed": (
        lambda edge, link, _: edge.as_(
            edge.unsigned_authority(), link.child_name(HERE, UID), link.child_dns(HERE, UID)
        ),
        REFUSED,
    ),
    "whom another edge server's authority certified as the child": (
        lambda edge, link, _: edge.as_(edge.foreign_authority, link.child_name(HERE, UID), link.child_dns(HERE, UID)),
        REFUSED,
    ),
    "the same with a host name that its authority may sign": (
        lambda edge, link, _: edge.as_(
            edge.foreign_authority, link.child_name(HERE, UID), link.child_dns(ELSEWHERE, UID)
        ),
        REFUSED,
    ),
    "the child with a certificate of last week": (
        lambda edge, link, _: edge.as_(
            edge.authority, link.child_name(HERE, UID), link.child_dns(HERE, UID), age=timedelta(days=7)
        ),
        REFUSED,
    ),
    "the same child of another edge server": (
        lambda edge, link, _: edge.as_(
            edge.foreign_authority, link.child_name(ELSEWHERE, UID), link.child_dns(ELSEWHERE, UID)
        ),
        WRONG_PEER,
    ),
    "the same child of another position": (
        lambda edge, link, _: edge.as_(
            edge.authority, link.child_name(HERE, OTHER_UID), link.child_dns(HERE, OTHER_UID)
        ),
        WRONG_PEER,
    ),
    "a replica that is not there": (
        lambda edge, link, _: edge.as_(edge.authority, host_name(HERE, UID, REPLICA), host_dns(HERE, UID, REPLICA)),
        WRONG_PEER,
    ),
    "the agent of this edge server": (
        lambda edge, link, _: edge.as_(edge.authority, agent_name(HERE), agent_dns(HERE)),
        WRONG_PEER,
    ),
    "the agent, as the control plane knows it": (lambda edge, link, _: of_agent(edge), WRONG_PEER),
    "the control plane": (lambda edge, link, _: of_control_plane(edge), WRONG_PEER),
    "whom the agent certified as the control plane": (
        lambda edge, link, _: edge.as_(edge.authority, CONTROL_PLANE, agent_dns(HERE)),
        REFUSED,
    ),
}
LINKS = ("monitor to agent", "host to monitor")


def of_agent(edge: Edge) -> Tls:
    identity = edge.agent.enrolment().identity
    return Tls(edge.roots, identity.certificate, identity.key)


def of_control_plane(edge: Edge) -> Tls:
    identity = edge.plane.authority.identity(["127.0.0.1"], now=clock.now())
    return Tls(edge.roots, identity.certificate, identity.key)


async def attempt(edge: Edge, link: Link, peer: Tls | None) -> str:
    tls = peer and Tls(peer.roots, peer.certificate, peer.key, link.parent_dns(HERE))
    hello = link_pb2.Hello(identity=link.child(edge), boot_id="b", protocol_min=1, protocol_max=1)
    async with open_aio_channel(link.address(edge), tls=tls) as channel:
        call = link.connect(channel).start()
        try:
            await call.write(link_pb2.ChildMessage(hello=hello))
            while not (await call.read()).HasField("welcome"):
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            code, reason = await call.code(), reason_of(await call.trailing_metadata())
            return REFUSED if code is grpc.StatusCode.UNAVAILABLE and not reason else reason
        finally:
            call.cancel()
    return LET_IN


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("peer", PEERS)
def test_a_link_over_tls_lets_its_child_in_and_nobody_else(edge: Edge, name: str, peer: str, tmp_path: Path) -> None:
    link = links(edge)[name]
    make, expected = PEERS[peer]
    assert asyncio.run(asyncio.wait_for(attempt(edge, link, make(edge, link, tmp_path)), 30)) == expected


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(
    "sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 64]
)
def test_no_link_over_tcp_speaks_plaintext(edge: Edge, name: str, sent: bytes) -> None:
    reply = answered(links(edge)[name].address(edge), sent)
    assert b"HTTP" not in reply
    assert not reply.startswith(b"\x00\x00")


IMPOSTORS: dict[str, Callable[[Edge, Link, Path], tuple[Signer, str]]] = {
    "of a mesh with another root": lambda edge, link, path: (edge.strangers_authority(path), link.parent_dns(HERE)),
    "that nobody has signed": lambda edge, link, _: (edge.unsigned_authority(), link.parent_dns(HERE)),
    "of another edge server, under our name": lambda edge, link, _: (edge.foreign_authority, link.parent_dns(HERE)),
    "of another edge server": lambda edge, link, _: (edge.foreign_authority, link.parent_dns(ELSEWHERE)),
    "of another position": lambda edge, link, _: (edge.authority, monitor_dns(HERE, OTHER_UID)),
}


@pytest.mark.parametrize("library", ["grpc", "ssl"])
@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_child_says_nothing_to_a_parent(edge: Edge, impostor: str, library: str, tmp_path: Path) -> None:
    """The other way round: whoever stands where its parent was is not spoken to, by either of our TLS libraries."""
    link = links(edge)["host to monitor"]
    signer, dns = IMPOSTORS[impostor](edge, link, tmp_path / "stranger")
    shown = edge.as_(signer, monitor_name(HERE, UID) if HERE in dns else monitor_name(ELSEWHERE, UID), dns)
    right = edge.as_(edge.authority, link.child_name(HERE, UID), link.child_dns(HERE, UID))
    write_identity(tmp_path / "child", identity_of(right))

    async def scenario() -> str:
        server = serve.grpc_server()
        address = serve.listen(server, "127.0.0.1:0", identity_of(shown), mutual=False)
        await server.start()
        try:
            wire = await dialled(library, address, tmp_path / "child")
            await wire.send(link_pb2.ChildMessage())
            await wire.receive()
        except (WireLost, MeshError) as refused:
            return str(refused)
        finally:
            await server.stop(None)
        return LET_IN

    why = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert "CERTIFICATE_VERIFY_FAILED" in why or "Hostname Verification Check failed" in why, why


def identity_of(tls: Tls) -> Identity:
    return Identity(tls.certificate or b"", tls.key or b"", tls.roots or b"")


async def dialled(library: str, address: str, identity: Path) -> ChildWire:
    name = monitor_dns(HERE, UID)
    if library == "ssl":
        return await dial_wire(
            lambda: WireChannel(address, tls=client_context(identity), server_name=name), CONNECT_HOST
        )()
    return await dial_grpc(
        lambda: open_aio_channel(address, tls=Identity.load(identity).tls(name)),
        lambda channel: HostLinkServiceStub(channel).ConnectHost,
    )()
