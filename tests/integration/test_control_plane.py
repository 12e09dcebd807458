"""The control plane as a process, with real agents' certificates and a real training platform; killed at will."""

import asyncio
import contextlib
import functools
import hashlib
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from control_plane.identity.authority import Authority
from mesh import certificates, clock
from mesh.link import DesiredState
from tests import models, postgres
from tests.integration.control_plane_process import (
    Agent,
    Certificate,
    ControlPlaneProcess,
    agent,
    certificate_request,
    control_plane,
    enrol,
    make_application,
    make_edge_server,
    make_join_token,
    new_key,
    private_pem,
    until,
)
from tests.integration.test_training import platform
from tests.waiting import PATIENCE_S
from training_platform import publish, withdraw
from training_platform.access import activation_token
from waypost.api.control.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    edge_server_pb2,
    edge_server_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    platform_pb2,
    platform_pb2_grpc,
    position_pb2,
    position_pb2_grpc,
    subscription_pb2,
    subscription_pb2_grpc,
)
from waypost.api.link.v1 import artifact_source_pb2, artifact_source_pb2_grpc, enrolment_pb2_grpc
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.api.link.v1.enrolment_pb2 import RenewRequest
from waypost.errors import AlreadyExists, Denied, Precondition
from waypost.rpc import open_aio_channel

EDGE_SERVER = "edgeServers/tower"


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 2 * PATIENCE_S))

    return run


@pytest.fixture(params=["sqlite", *(["postgresql"] if postgres.SERVER else [])])
def plane(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ControlPlaneProcess]:
    with contextlib.ExitStack() as held:
        options = ["--lease-s", "2", "--heartbeat-s", "0.5"]
        if request.param == "postgresql":
            options += ["--database-url", held.enter_context(postgres.database())]
        yield held.enter_context(control_plane(tmp_path / "control-plane", *options))


# ---- who may call ----------------------------------------------------------------------------------------------------


@scenario
async def test_the_first_token_is_private_works_and_is_never_logged(plane: ControlPlaneProcess) -> None:
    token_file = plane.data_dir / "admin.token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    async with plane.channel() as channel:
        told = await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(platform_pb2.GetPlatformRequest())
    assert (told.caller, told.link_address) == ("credentials/admin", plane.link)
    assert plane.token not in "".join(plane.log)


@dataclass(frozen=True)
class Method:
    path: str
    kind: str
    """As channels call it: unary_stream, ..."""


@scenario
async def test_no_rpc_answers_without_credentials(plane: ControlPlaneProcess) -> None:
    """Walks whatever reflection names, so that a service added later is walked too. Health alone is open."""
    async with plane.channel() as channel:
        methods = [method for method in await served(channel) if "/grpc.health." not in method.path]
    assert {method.path.split("/")[1] for method in methods} >= {
        *(f"waypost.api.control.v1.{name}Service" for name in ("Artifact", "Credential", "Position", "Watch")),
        *("waypost.api.link.v1.EnrolmentService", "grpc.reflection.v1alpha.ServerReflection"),
    }
    assert len(methods) > 40
    async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as bare:
        for method in methods:
            for metadata in ((), (("authorization", "Bearer wp1_guess"),), (("authorization", "Basic eDp5"),)):
                code = await code_of(bare, method, metadata)
                assert code is grpc.StatusCode.UNAUTHENTICATED, (method.path, metadata, code)


async def served(channel: Any) -> list[Method]:
    """Every method of every service, as the server describes itself."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo.start()
    try:
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = [service.name for service in (await call.read()).list_services_response.service]
        methods: list[Method] = []
        for name in services:
            await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
            files = (await call.read()).file_descriptor_response.file_descriptor_proto
            methods += _methods(name, [FileDescriptorProto.FromString(file) for file in files])
    finally:
        call.cancel()
    return methods


def _methods(service: str, files: list[FileDescriptorProto]) -> list[Method]:
    ways = {False: "unary", True: "stream"}
    return [
        Method(f"/{service}/{method.name}", f"{ways[method.client_streaming]}_{ways[method.server_streaming]}")
        for file in files
        for described in file.service
        if f"{file.package}.{described.name}" == service
        for method in described.method
    ]


async def code_of(channel: grpc.aio.Channel, method: Method, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """What a call ends with. Its message is empty, which every message may be; a stream sends none."""
    start = getattr(channel, method.kind)(method.path, request_serializer=bytes, response_deserializer=bytes)

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    call = start(silence() if method.kind.startswith("stream") else b"", metadata=metadata, timeout=10)
    try:
        return await call.code()
    finally:
        call.cancel()


@scenario
async def test_health_is_open_and_says_serving(plane: ControlPlaneProcess) -> None:
    async with plane.channel(token=None) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING


# ---- edge servers ----------------------------------------------------------------------------------------------------


async def enrolled(plane: ControlPlaneProcess, edge_server: str = "tower") -> Certificate:
    async with plane.channel() as channel:
        return await enrol(plane, await make_edge_server(channel, edge_server))


async def shown(plane: ControlPlaneProcess, edge_server: str = EDGE_SERVER) -> edge_server_pb2.EdgeServer:
    async with plane.channel() as channel:
        stub = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
        answer = await stub.GetEdgeServer(edge_server_pb2.GetEdgeServerRequest(name=edge_server))
    return answer.edge_server


BROKEN_OFF = "failed to connect to all addresses"
"""What an agent sees of a TLS handshake that the control plane does not bring to an end."""


async def turned_away(plane: ControlPlaneProcess, certificate: Certificate, identity: str) -> str:
    """Why the first connection of such an agent ended; it was never let in."""

    async def ends() -> list[str]:
        assert edge.epochs == [], "it was let in"
        return [*map(str, edge.refusals), *(line["why"] for line in logs if line["event"] == "link_lost")]

    with capture_logs() as logs:
        async with agent(plane, certificate, identity) as edge:
            return (await until(ends, bool))[0]


def is_connected(server: edge_server_pb2.EdgeServer) -> bool:
    return server.status.state == edge_server_pb2.EDGE_SERVER_STATE_CONNECTED


@scenario
async def test_an_enrolled_agent_connects_and_is_given_up_when_it_stays_away(plane: ControlPlaneProcess) -> None:
    certificate = await enrolled(plane)
    assert (await shown(plane)).status.state == edge_server_pb2.EDGE_SERVER_STATE_PENDING
    async with agent(plane, certificate, EDGE_SERVER) as edge:
        await until(lambda: shown(plane), is_connected)
        await until(lambda: _epochs(edge), lambda epochs: epochs == [1])
    lost = await until(lambda: shown(plane), lambda server: not is_connected(server))
    assert "serves on" in lost.status.message
    assert plane.link in lost.status.hint


@scenario
async def test_the_link_port_takes_nobody_but_the_edge_server_itself(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    certificate = await enrolled(plane)
    await enrolled(plane, "mast")
    stranger = Authority.open(tmp_path / "stranger", now=clock.now())
    chain = stranger.issue(certificate_request(key := new_key()), "tower", now=clock.now())
    forged = Certificate(chain.encode(), private_pem(key), certificate.roots)
    identity = plane.data_dir / "identity"
    server = Certificate(
        (identity / "certificate.pem").read_bytes(), (identity / "key.pem").read_bytes(), certificate.roots
    )
    unknown = Certificate(b"", b"", certificate.roots)
    assert BROKEN_OFF in await turned_away(plane, forged, EDGE_SERVER)
    assert BROKEN_OFF in await turned_away(plane, unknown, EDGE_SERVER)
    assert "is not an agent's" in await turned_away(plane, server, EDGE_SERVER)
    assert "its certificate is that of" in await turned_away(plane, certificate, "edgeServers/mast")
    assert not is_connected(await shown(plane))


@scenario
async def test_an_expired_certificate_opens_no_link_and_is_renewed_by_its_key(plane: ControlPlaneProcess) -> None:
    certificate = await enrolled(plane)
    root = Authority.open(plane.data_dir / "identity", now=clock.now())
    chain = root.issue(certificate_request(key := new_key()), "tower", now=clock.now() - 40 * 86400)
    expired = Certificate(chain.encode(), private_pem(key), certificate.roots)
    assert BROKEN_OFF in await turned_away(plane, expired, EDGE_SERVER)
    renewed = await renew(plane, expired, key)
    async with agent(plane, renewed, EDGE_SERVER) as edge:
        await until(lambda: _epochs(edge), lambda epochs: epochs == [1])


async def renew(plane: ControlPlaneProcess, held: Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    fresh = new_key()
    request = RenewRequest(
        certificate=x509.load_pem_x509_certificate(held.chain).public_bytes(Encoding.DER),
        certificate_request=certificate_request(fresh),
    )
    request.signature = certificates.signature(key, request.certificate_request)
    async with plane.channel(token=None) as channel:
        answer = await enrolment_pb2_grpc.EnrolmentServiceStub(channel).Renew(request)
    return Certificate(answer.certificate_chain.encode(), private_pem(fresh), answer.roots.encode())


@scenario
async def test_a_revoked_edge_server_is_cut_off_at_once_and_comes_back_with_a_new_join_token(
    plane: ControlPlaneProcess,
) -> None:
    key = new_key()
    async with plane.channel() as channel:
        certificate = await enrol(plane, await make_edge_server(channel, "tower"), key)
        async with agent(plane, certificate, EDGE_SERVER) as edge:
            await until(lambda: shown(plane), is_connected)
            stub = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
            await stub.RevokeEdgeServer(edge_server_pb2.RevokeEdgeServerRequest(name=EDGE_SERVER))
            await until(_is_on(edge), lambda on: not on)
            async with open_aio_channel(plane.link, tls=certificate.tls) as link:
                artifacts: Any = artifact_source_pb2_grpc.ArtifactSourceServiceStub(link)
                with pytest.raises(Denied, match="was revoked at"):
                    async for _ in artifacts.ReadArtifact(artifact_source_pb2.ReadArtifactRequest()):
                        pass
            with pytest.raises(Denied, match="was revoked at"):
                await renew(plane, certificate, key)
            assert edge.epochs == [1]
        server = await shown(plane)
        assert server.status.message.startswith("revoked at ")
        token = await make_join_token(channel, "tower", "again")
    async with agent(plane, await enrol(plane, token), EDGE_SERVER) as edge:
        await until(_is_on(edge), bool)


def _is_on(edge: Agent) -> Callable[[], Awaitable[bool]]:
    async def read() -> bool:
        return edge.link.connected

    return read


@scenario
async def test_a_deleted_edge_server_is_let_in_no_more(plane: ControlPlaneProcess) -> None:
    certificate = await enrolled(plane)
    async with agent(plane, certificate, EDGE_SERVER) as edge:
        await until(lambda: shown(plane), is_connected)
        async with plane.channel() as channel:
            stub = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
            await stub.DeleteEdgeServer(edge_server_pb2.DeleteEdgeServerRequest(name=EDGE_SERVER))
        async with open_aio_channel(plane.link, tls=certificate.tls) as channel:
            source = artifact_source_pb2_grpc.ArtifactSourceServiceStub(channel)
            with pytest.raises(Denied) as refused:
                await anext(source.ReadArtifact(artifact_source_pb2.ReadArtifactRequest(digest="sha256:" + "0" * 64)))
        assert refused.value.reason == "EDGE_SERVER_DELETED"
        assert len(edge.epochs) <= 1


# ---- a model by hand, and its way to the edge ------------------------------------------------------------------------


async def upload(channel: Any, path: Path) -> model_pb2.Artifact:
    content = await asyncio.to_thread(path.read_bytes)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"

    async def pieces() -> AsyncIterator[artifact_pb2.WriteArtifactRequest]:
        yield artifact_pb2.WriteArtifactRequest(digest=digest, size_bytes=len(content))
        for start in range(0, len(content), 100_000):
            yield artifact_pb2.WriteArtifactRequest(data=content[start : start + 100_000])

    await artifact_pb2_grpc.ArtifactServiceStub(channel).WriteArtifact(pieces())
    return model_pb2.Artifact(path="model.onnx", digest=digest, size_bytes=len(content))


async def make_version(channel: Any, application: str, version: str, path: Path) -> str:
    """Creates it, with its model where that is missing; returns its name."""
    stub = model_pb2_grpc.ModelServiceStub(channel)
    with contextlib.suppress(AlreadyExists):
        await stub.CreateModel(model_pb2.CreateModelRequest(parent=application, model_id="m"))
    made = model_pb2.ModelVersion(artifacts=[await upload(channel, path)], framework="onnx", idempotent=True)
    answer = await stub.CreateModelVersion(
        model_pb2.CreateModelVersionRequest(
            parent=f"{application}/models/m", model_version_id=version, model_version=made
        )
    )
    assert answer.model_version.state == model_pb2.MODEL_VERSION_STATE_IMPORTING
    return str(answer.model_version.name)


async def version(plane: ControlPlaneProcess, name: str) -> model_pb2.ModelVersion:
    async with plane.channel() as channel:
        stub = model_pb2_grpc.ModelServiceStub(channel)
        return (await stub.GetModelVersion(model_pb2.GetModelVersionRequest(name=name))).model_version


def is_judged(found: model_pb2.ModelVersion) -> bool:
    return found.state != model_pb2.MODEL_VERSION_STATE_IMPORTING


async def deploy(channel: Any, application: str, model_version: str, position: str) -> position_pb2.Position:
    spec = position_pb2.PositionSpec(model_version=model_version, edge_server=EDGE_SERVER)
    answer = await position_pb2_grpc.PositionServiceStub(channel).CreatePosition(
        position_pb2.CreatePositionRequest(
            parent=application, position_id=position, position=position_pb2.Position(spec=spec)
        )
    )
    return answer.position


@scenario
async def test_a_deploy_reaches_the_agent_at_once_and_its_artifact_can_be_read(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    certificate = await enrolled(plane)
    async with plane.channel() as channel, agent(plane, certificate, EDGE_SERVER) as edge:
        application = await make_application(channel)
        name = await make_version(channel, application, "1", models.affine(tmp_path / "affine.onnx"))
        checked = await until(lambda: version(plane, name), is_judged)
        assert checked.state == model_pb2.MODEL_VERSION_STATE_AVAILABLE, checked
        assert [spec.name for spec in checked.signature.inputs] == ["x"]
        await until(lambda: shown(plane), is_connected)
        delays_s = []
        for number in range(10):
            arrives = edge.news
            begun_s = time.monotonic()
            await deploy(channel, application, name, f"cell-{number}")
            await asyncio.wait_for(arrives.wait(), 5)
            delays_s.append(time.monotonic() - begun_s)
        assert len(edge.held.items) == 10
        assert sorted(delays_s)[5] < 0.5, delays_s  # some 20 ms where nothing else runs; polling would take a second
        assignment = PositionAssignment.FromString(edge.held.items[f"{application}/positions/cell-0"].body)
        assert assignment.model_version.digest == checked.digest
        artifact = assignment.model_version.artifacts[0]
        async with open_aio_channel(plane.link, tls=certificate.tls) as link:
            source = artifact_source_pb2_grpc.ArtifactSourceServiceStub(link)
            request = artifact_source_pb2.ReadArtifactRequest(digest=artifact.digest, offset=10)
            read = b"".join([piece.data async for piece in source.ReadArtifact(request)])
        assert read == (tmp_path / "affine.onnx").read_bytes()[10:]


@scenario
async def test_a_model_that_cannot_be_served_is_invalid_with_a_reason(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    async with plane.channel() as channel:
        application = await make_application(channel)
        broken = {"corrupt": models.corrupt, "foreign": models.foreign}
        for number, (kind, make) in enumerate(broken.items()):
            name = await make_version(channel, application, str(number), make(tmp_path / f"{kind}.onnx"))
            judged = await until(lambda name=name: version(plane, name), is_judged)
            assert judged.state == model_pb2.MODEL_VERSION_STATE_INVALID
            (problem,) = [each for each in judged.conditions if each.reason]
            assert problem.type == "Checked"
            assert problem.message
            assert problem.hint
            with pytest.raises(Precondition):
                await deploy(channel, application, name, f"cell-{number}")


@scenario
async def test_a_kill_of_the_control_plane_costs_the_agent_nothing(plane: ControlPlaneProcess, tmp_path: Path) -> None:
    certificate = await enrolled(plane)
    async with agent(plane, certificate, EDGE_SERVER) as edge:
        async with plane.channel() as channel:
            application = await make_application(channel)
            name = await make_version(channel, application, "1", models.affine(tmp_path / "affine.onnx"))
            await until(lambda: version(plane, name), is_judged)
            await deploy(channel, application, name, "cell")
        await until(lambda: _held(edge), lambda held: len(held.items) == 1)
        before = edge.held
        leftover = plane.data_dir / "identity" / ".certificate.pem.0a_bcdef.unfinished"
        leftover.touch()
        for number in (signal.SIGKILL, signal.SIGTERM):
            code = await asyncio.to_thread(plane.end, number)
            assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
            await asyncio.to_thread(plane.start)
            await until(lambda: shown(plane), is_connected)
            await until(lambda: _epochs(edge), lambda epochs, number=number: len(epochs) > (number == signal.SIGTERM))
        assert not leftover.exists()
        assert edge.held is before  # nothing was sent again: both knew the same
        assert edge.epochs == sorted(set(edge.epochs))
        async with plane.channel() as channel:
            await deploy(channel, application, name, "cell-2")
        await until(lambda: _held(edge), lambda held: len(held.items) == 2)


async def _held(edge: Agent) -> DesiredState:
    return edge.held


async def _epochs(edge: Agent) -> list[int]:
    return edge.epochs


# ---- a training platform ---------------------------------------------------------------------------------------------


async def subscribe(channel: Any, address: str, token: str) -> None:
    spec = subscription_pb2.SubscriptionSpec(endpoint=address, project="projects/uav", activation_token=token)
    await subscription_pb2_grpc.SubscriptionServiceStub(channel).CreateSubscription(
        subscription_pb2.CreateSubscriptionRequest(
            subscription_id="lab", subscription=subscription_pb2.Subscription(spec=spec)
        )
    )


async def versions(plane: ControlPlaneProcess) -> dict[str, str]:
    """State by version, of the model that the training platform publishes."""
    async with plane.channel() as channel:
        answer = await model_pb2_grpc.ModelServiceStub(channel).ListModelVersions(
            model_pb2.ListModelVersionsRequest(parent=f"{APPLICATION}/models/tcn", page_size=1000)
        )
    return {found.name.rpartition("/")[2]: state_of(found) for found in answer.model_versions}


def state_of(found: model_pb2.ModelVersion) -> str:
    return model_pb2.ModelVersionState.Name(found.state).removeprefix("MODEL_VERSION_STATE_")


async def imported(plane: ControlPlaneProcess) -> list[str]:
    """Versions of which an event says that they were imported."""
    async with plane.channel() as channel:
        answer = await event_pb2_grpc.EventServiceStub(channel).ListEvents(event_pb2.ListEventsRequest(page_size=1000))
    names = [event.resource for event in answer.events if event.reason == "VERSION_IMPORTED"]
    return sorted(name.rpartition("/")[2] for name in names)


APPLICATION = "projects/uav/applications/path"


@scenario
async def test_a_subscription_survives_the_death_of_either_side(plane: ControlPlaneProcess, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    rng = random.Random(7)
    with platform(lab) as training:
        token = activation_token(lab)
        async with plane.channel() as channel:
            await subscribe(channel, training.address, token)
        publish(lab, "path", "tcn", "1", {"model.onnx": models.affine(tmp_path / "m.onnx", offset=1)})
        await until(lambda: versions(plane), lambda found: "1" in found)  # what is never heard of is never withdrawn
        for number in range(2, 7):
            publish(lab, "path", "tcn", str(number), {"model.onnx": models.affine(tmp_path / "m.onnx", offset=number)})
            await asyncio.sleep(rng.uniform(0, 0.4))
            if number % 2:
                await asyncio.to_thread(plane.kill)
                await asyncio.to_thread(plane.start)
            else:
                training.kill()
                training.start()
        withdraw(lab, "path", "tcn", "1")
        wanted = {"1": "WITHDRAWN"} | {str(number): "AVAILABLE" for number in range(2, 7)}
        await until(lambda: versions(plane), lambda found: found == wanted, every_s=0.1)
        told = await imported(plane)
        assert len(told) == len(set(told))  # a kill between verdict and event loses one, and none comes twice
        revision = await _revision(plane)
        await asyncio.to_thread(plane.kill)
        await asyncio.to_thread(plane.start)
        await until(lambda: subscription(plane), is_followed)
        assert await versions(plane) == wanted
        assert await _revision(plane) == revision  # it went on from its cursor, and had nothing to write


async def _revision(plane: ControlPlaneProcess) -> int:
    async with plane.channel() as channel:
        stub = platform_pb2_grpc.PlatformServiceStub(channel)
        return int((await stub.GetPlatform(platform_pb2.GetPlatformRequest())).revision)


async def subscription(plane: ControlPlaneProcess) -> subscription_pb2.Subscription:
    async with plane.channel() as channel:
        stub = subscription_pb2_grpc.SubscriptionServiceStub(channel)
        request = subscription_pb2.GetSubscriptionRequest(name="subscriptions/lab")
        return (await stub.GetSubscription(request)).subscription


def is_followed(found: subscription_pb2.Subscription) -> bool:
    return any(judged.type == "Connected" and not judged.reason for judged in found.status.conditions)


@scenario
async def test_a_training_platform_that_is_away_or_refuses_us_says_so_in_the_subscription(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    with platform(tmp_path / "lab") as training:
        async with plane.channel() as channel:
            await subscribe(channel, training.address, "wrong token")
        refused = await until(lambda: subscription(plane), lambda found: bool(found.status.conditions))
        assert refused.status.conditions[0].reason == "BAD_TOKEN"
        assert refused.status.conditions[0].hint
        assert not refused.spec.activation_token


# ---- starting --------------------------------------------------------------------------------------------------------


def start_failing(*options: str) -> str:
    """What a control plane that cannot start says."""
    command = [sys.executable, "-m", "control_plane", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    return ended.stderr


def test_a_second_control_plane_on_the_same_data_or_port_is_refused_and_names_the_first(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    same_data = start_failing("--data-dir", str(plane.data_dir), "--listen", "127.0.0.1:0")
    assert "is used by another control plane (pid" in same_data
    assert "hint:" in same_data
    same_port = start_failing(
        *("--data-dir", str(tmp_path / "other")), *("--listen", plane.api), *("--link-listen", "127.0.0.1:0")
    )
    assert f"{plane.api} is taken" in same_port


def test_wrong_settings_are_told_before_anything_is_written(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    for options in (("--lease-s", "1", "--heartbeat-s", "1"), ("--listen", "nonsense"), ("--certificate", "/no/such")):
        assert "error:" in start_failing("--data-dir", str(data_dir), "--link-listen", "127.0.0.1:0", *options)
    assert not (data_dir / "admin.token").exists()
