"""Who is on the other end: plaintext, no certificate, a certificate of another authority, the wrong name."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from control_plane.assembly import API_BYTES_MAX, LINK_BYTES_MAX
from control_plane.identity.authority import Authority
from mesh import clock
from tests.integration.control_plane_process import (
    Certificate,
    ControlPlaneProcess,
    certificate_request,
    enrol,
    make_edge_server,
    new_key,
    private_pem,
)
from waypost.api.control.v1 import platform_pb2, platform_pb2_grpc, project_pb2, project_pb2_grpc
from waypost.api.link.v1 import artifact_source_pb2, artifact_source_pb2_grpc
from waypost.errors import MeshError, NotFound
from waypost.rpc import Tls, open_aio_channel

REFUSED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}
ABSENT = "sha256:" + "0" * 64


def ports(plane: ControlPlaneProcess) -> tuple[str, str]:
    return plane.api, plane.link


@pytest.fixture(scope="module")
def agents(plane: ControlPlaneProcess) -> Certificate:
    """Of an edge server that has enrolled."""

    async def made() -> Certificate:
        async with plane.channel() as channel:
            return await enrol(plane, await make_edge_server(channel, "tower"))

    return asyncio.run(made())


@pytest.fixture(scope="module")
def strangers(agents: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The same name, signed by an authority that is not ours."""
    directory: Path = tmp_path_factory.mktemp("stranger")
    key = new_key()
    chain = Authority.open(directory, now=clock.now()).issue(certificate_request(key), "tower", now=clock.now())
    return Certificate(chain.encode(), private_pem(key), agents.roots)


def answered(address: str, sent: bytes) -> bytes:
    """What a port answers to bytes on a bare connection, until it closes; at most a kilobyte."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        try:
            return connection.recv(1024)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 64]
)
def test_no_port_speaks_plaintext(plane: ControlPlaneProcess, sent: bytes) -> None:
    for address in ports(plane):
        reply = answered(address, sent)
        assert b"HTTP" not in reply
        assert not reply.startswith(b"\x00\x00"), f"{address} answered HTTP/2 without TLS"


def test_plaintext_grpc_is_refused_with_the_right_token_too(plane: ControlPlaneProcess) -> None:
    async def scenario() -> None:
        for address in ports(plane):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = platform_pb2_grpc.PlatformServiceStub(channel)
                metadata = (("authorization", f"Bearer {plane.token}"),)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.GetPlatform(platform_pb2.GetPlatformRequest(), metadata=metadata, timeout=10)
                assert refused.value.code() in REFUSED

    asyncio.run(scenario())


@asynccontextmanager
async def link(
    plane: ControlPlaneProcess, tls: Tls
) -> AsyncIterator[artifact_source_pb2_grpc.ArtifactSourceServiceStub]:
    async with open_aio_channel(plane.link, tls=tls) as channel:
        yield artifact_source_pb2_grpc.ArtifactSourceServiceStub(channel)


async def _read(plane: ControlPlaneProcess, tls: Tls) -> None:
    async with link(plane, tls) as source:
        request = artifact_source_pb2.ReadArtifactRequest(digest=ABSENT)
        await anext(aiter(source.ReadArtifact(request, timeout=10)))


def test_the_agents_port_takes_a_certificate_of_ours_and_no_other(
    plane: ControlPlaneProcess, agents: Certificate, strangers: Certificate
) -> None:
    with pytest.raises(NotFound):  # let in: there is only no such artifact
        asyncio.run(_read(plane, agents.tls))
    for wrong in (strangers.tls, Tls(roots=agents.roots)):
        with pytest.raises(MeshError) as refused:
            asyncio.run(_read(plane, wrong))
        assert refused.value.code.name == "UNAVAILABLE", refused.value


def test_nobody_has_more_read_than_the_largest_message_that_belongs_there(
    plane: ControlPlaneProcess, agents: Certificate
) -> None:
    """It is read before anybody asks who sent it."""

    async def project(digits: int) -> str:
        request = project_pb2.GetProjectRequest(name="a" * digits)
        async with plane.channel(token=None) as channel:
            with pytest.raises(MeshError) as refused:
                await project_pb2_grpc.ProjectServiceStub(channel).GetProject(request, timeout=10)
        return refused.value.reason

    async def artifact(digits: int) -> str:
        request = artifact_source_pb2.ReadArtifactRequest(digest="a" * digits)
        async with link(plane, agents.tls) as source:
            with pytest.raises(MeshError) as refused:
                await anext(aiter(source.ReadArtifact(request, timeout=10)))
        return refused.value.reason

    assert asyncio.run(project(API_BYTES_MAX - 100)) == "CREDENTIAL_MISSING"
    assert asyncio.run(project(API_BYTES_MAX)) == "RESOURCE_EXHAUSTED"
    assert asyncio.run(artifact(LINK_BYTES_MAX)) == "RESOURCE_EXHAUSTED"


def test_a_token_for_the_api_opens_nothing_on_the_agents_port(plane: ControlPlaneProcess, agents: Certificate) -> None:
    async def scenario() -> None:
        async with open_aio_channel(plane.link, tls=Tls(roots=agents.roots), token=plane.token) as channel:
            with pytest.raises(MeshError) as refused:
                await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(
                    platform_pb2.GetPlatformRequest(), timeout=10
                )
        assert refused.value.code.name == "UNAVAILABLE"

    asyncio.run(scenario())


def test_an_agents_certificate_is_no_credential_on_the_api(plane: ControlPlaneProcess, agents: Certificate) -> None:
    async def scenario() -> None:
        async with open_aio_channel(plane.api, tls=agents.tls) as channel:
            with pytest.raises(MeshError) as refused:
                await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(platform_pb2.GetPlatformRequest())
        assert refused.value.reason == "CREDENTIAL_MISSING"

    asyncio.run(scenario())


def test_a_client_does_not_speak_to_a_platform_of_another_authority_or_name(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    """The other way round: whoever stands between gets no token."""
    stranger = Authority.open(tmp_path / "stranger", now=clock.now())

    async def code(roots: bytes, *options: tuple[str, str]) -> str:
        credentials = grpc.ssl_channel_credentials(roots)
        async with grpc.aio.secure_channel(plane.api, credentials, options=options) as channel:
            stub = platform_pb2_grpc.PlatformServiceStub(channel)
            metadata = (("authorization", f"Bearer {plane.token}"),)
            try:
                await stub.GetPlatform(platform_pb2.GetPlatformRequest(), metadata=metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

    assert asyncio.run(code(plane.roots)) == "OK"
    assert asyncio.run(code(stranger.roots)) == "UNAVAILABLE"
    assert asyncio.run(code(plane.roots, ("grpc.ssl_target_name_override", "elsewhere.example"))) == "UNAVAILABLE"
