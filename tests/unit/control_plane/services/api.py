"""The real services on a real server, over a Unix socket and a store in memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from argon2 import PasswordHasher

from control_plane.access import Access, Secrets
from control_plane.access.attempts import Attempts
from control_plane.access.passwords import Passwords
from control_plane.audit import Audit
from control_plane.fleet.fake import FakeFleet
from control_plane.services.application import ApplicationService
from control_plane.services.audit import AuditService
from control_plane.services.credential import CredentialService
from control_plane.services.edge_server import EdgeServerService
from control_plane.services.event import EventService
from control_plane.services.kit import Kit, make_kit
from control_plane.services.login import Login
from control_plane.services.model import ModelService
from control_plane.services.platform import PlatformService
from control_plane.services.position import PositionService
from control_plane.services.project import ProjectService
from control_plane.services.role_binding import RoleBindingService
from control_plane.services.session import SessionService
from control_plane.services.subscription import SubscriptionService
from control_plane.services.user import UserService
from control_plane.services.watch import WatchService
from control_plane.store import Put, Stores, open_stores
from control_plane.store.observed_rows import edge_server_row, report_row
from control_plane.store.resources import MODEL_VERSION
from mesh.clock import RandomIds
from mesh.identity import Identity
from mesh.serve import grpc_server, listen
from waypost.api.control.v1 import (
    application_pb2,
    application_pb2_grpc,
    audit_pb2_grpc,
    credential_pb2,
    credential_pb2_grpc,
    edge_server_pb2,
    edge_server_pb2_grpc,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    platform_pb2_grpc,
    position_pb2,
    position_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
    role_binding_pb2_grpc,
    session_pb2_grpc,
    subscription_pb2_grpc,
    user_pb2_grpc,
    watch_pb2_grpc,
)
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE, Condition
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, Role
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.errors import NotFound
from waypost.rpc import open_aio_channel

SESSION_S = 3600.0
PIN = "ab" * 32
PROJECT = "projects/uav"
APPLICATION = f"{PROJECT}/applications/path"
MODEL = f"{APPLICATION}/models/gru"
VERSION = f"{MODEL}/versions/1"
POSITION = f"{APPLICATION}/positions/tower-7"
EDGE_SERVER = "edgeServers/edge-1"


@dataclass(slots=True)
class FakeArtifacts:
    """Digest -> size."""

    stored: dict[str, int] = field(default_factory=dict)

    async def size_bytes(self, digest: str) -> int:
        if digest not in self.stored:
            raise NotFound("ARTIFACT_NOT_FOUND", "nobody has it")
        return self.stored[digest]


@dataclass(slots=True)
class Clock:
    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(slots=True)
class Api:
    """What a test holds: stubs that are logged in, and what lies behind them."""

    address: str
    channel: Any
    kit: Kit
    stores: Stores
    clock: Clock
    fleet: FakeFleet
    artifacts: FakeArtifacts
    credentials: CredentialService

    def __getattr__(self, service: str) -> Any:
        """`api.project` is a stub of ProjectService."""
        return _STUBS[service](self.channel)

    @asynccontextmanager
    async def as_caller(self, token: str | None) -> AsyncIterator[Any]:
        """A channel with another token, or with none."""
        channel = open_aio_channel(self.address, token=token)
        try:
            yield channel
        finally:
            await channel.close()

    @asynccontextmanager
    async def with_role(self, role: Role.ValueType, project: str = "", id_: str = "guest") -> AsyncIterator["Api"]:
        """The same API for somebody else: a new token with one role, everywhere or in one project."""
        _, token = await self.credentials.issue(project, id_, credential_pb2.Credential(role=role))
        async with self.with_token(token) as theirs:
            yield theirs

    @asynccontextmanager
    async def with_token(self, token: str) -> AsyncIterator["Api"]:
        """The same API for whoever the token belongs to."""
        async with self.as_caller(token) as channel:
            yield replace(self, channel=channel)

    async def make_application(self) -> None:
        await self.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
        await self.application.CreateApplication(
            application_pb2.CreateApplicationRequest(parent=PROJECT, application_id="path")
        )

    async def make_version(
        self,
        version: str = "1",
        state: int = model_pb2.MODEL_VERSION_STATE_AVAILABLE,
        subscription: str = "",
        *,
        keeps_state: bool = False,
    ) -> None:
        """As if the registry had imported it."""
        if await self.stores.records.read(MODEL) is None:
            await self.model.CreateModel(model_pb2.CreateModelRequest(parent=APPLICATION, model_id="gru"))
        name = f"{MODEL}/versions/{version}"
        message = model_pb2.ModelVersion(
            name=name,
            framework="template" if keeps_state else "onnx",
            keeps_state=keeps_state,
            digest=f"sha256:{version}",
            state=state,
            subscription=subscription,  # type: ignore[arg-type]
        )
        await self.stores.records.commit([MODEL_VERSION.encode(name, message)])

    async def make_edge_server(self, id_: str = "edge-1") -> None:
        await self.edge_server.CreateEdgeServer(edge_server_pb2.CreateEdgeServerRequest(edge_server_id=id_))

    async def make_place(self) -> None:
        """Everything that a position needs."""
        await self.make_application()
        await self.make_version()
        await self.make_edge_server()

    async def make_position(self, id_: str = "tower-7", **spec: Any) -> position_pb2.Position:
        request = position_pb2.CreatePositionRequest(
            parent=APPLICATION,
            position_id=id_,
            position=position_pb2.Position(spec={"model_version": VERSION, "edge_server": EDGE_SERVER, **spec}),
        )
        created: position_pb2.Position = (await self.position.CreatePosition(request)).position
        return created

    async def connect_agent(self, connected: bool = True) -> None:
        """As if the fleet had judged it."""
        judged = Condition(
            type="AgentConnected",
            status=CONDITION_STATUS_TRUE if connected else CONDITION_STATUS_FALSE,
            reason="" if connected else "AGENT_LOST",
            message="" if connected else "nothing heard of its agent since noon",
        )
        connected_state = edge_server_pb2.EDGE_SERVER_STATE_CONNECTED
        state = connected_state if connected else edge_server_pb2.EDGE_SERVER_STATE_DISCONNECTED
        status = edge_server_pb2.EdgeServerStatus(state=state, message="as it is", conditions=[judged])
        await self.stores.observed.put([edge_server_row(EDGE_SERVER, status)])

    async def report(
        self,
        position: position_pb2.Position,
        state: int = position_pb2.POSITION_STATE_IN_SERVICE,
        *,
        versions: Sequence[str] = (VERSION,),
        rejected: Sequence[position_pb2.RejectedVersion] = (),
        generation: int | None = None,
    ) -> None:
        """As if the agent had sent it."""
        status = position_pb2.PositionStatus(
            state=state,  # type: ignore[arg-type]
            message="the probe was answered",
            observed_generation=position.generation if generation is None else generation,
            serving=[position_pb2.ServingVersion(model_version=version, weight=100) for version in versions],
            rejected=rejected,
        )
        report = PositionReport(uid=position.uid, status=status)
        await self.stores.observed.put([report_row(position.spec.edge_server, position.name, report)])

    async def put(self, change: Put) -> None:
        await self.stores.records.commit([change])


_STUBS: dict[str, Callable[[Any], Any]] = {
    "application": application_pb2_grpc.ApplicationServiceStub,
    "audit": audit_pb2_grpc.AuditServiceStub,
    "credential": credential_pb2_grpc.CredentialServiceStub,
    "edge_server": edge_server_pb2_grpc.EdgeServerServiceStub,
    "event": event_pb2_grpc.EventServiceStub,
    "model": model_pb2_grpc.ModelServiceStub,
    "platform": platform_pb2_grpc.PlatformServiceStub,
    "position": position_pb2_grpc.PositionServiceStub,
    "project": project_pb2_grpc.ProjectServiceStub,
    "role_binding": role_binding_pb2_grpc.RoleBindingServiceStub,
    "session": session_pb2_grpc.SessionServiceStub,
    "subscription": subscription_pb2_grpc.SubscriptionServiceStub,
    "user": user_pb2_grpc.UserServiceStub,
    "watch": watch_pb2_grpc.WatchServiceStub,
}


def _serve(server: Any, kit: Kit, credentials: CredentialService, fleet: FakeFleet, artifacts: FakeArtifacts) -> None:
    application_pb2_grpc.add_ApplicationServiceServicer_to_server(ApplicationService(kit), server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(kit), server)
    credential_pb2_grpc.add_CredentialServiceServicer_to_server(credentials, server)
    edge_server_pb2_grpc.add_EdgeServerServiceServicer_to_server(EdgeServerService(kit), server)
    event_pb2_grpc.add_EventServiceServicer_to_server(EventService(kit), server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(kit, artifacts), server)
    platform = PlatformService(kit, version="1.2.3", link_address="cp:7601")
    platform_pb2_grpc.add_PlatformServiceServicer_to_server(platform, server)
    position_pb2_grpc.add_PositionServiceServicer_to_server(PositionService(kit, fleet), server)
    project_pb2_grpc.add_ProjectServiceServicer_to_server(ProjectService(kit), server)
    role_binding_pb2_grpc.add_RoleBindingServiceServicer_to_server(RoleBindingService(kit), server)
    subscription_pb2_grpc.add_SubscriptionServiceServicer_to_server(SubscriptionService(kit), server)
    login = Login(kit, Passwords(PasswordHasher(1, 8, 1)), Attempts(), SESSION_S)
    session_pb2_grpc.add_SessionServiceServicer_to_server(SessionService(kit, login), server)
    user_pb2_grpc.add_UserServiceServicer_to_server(UserService(kit, login), server)
    watch_pb2_grpc.add_WatchServiceServicer_to_server(WatchService(kit), server)


def with_api(test: Callable[[Api], Awaitable[None]]) -> Callable[[], None]:
    """Makes a test of `async def test_x(api)`."""

    def run() -> None:
        async def scenario() -> None:
            async with open_api() as api, asyncio.timeout(20):
                await test(api)

        asyncio.run(scenario())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@asynccontextmanager
async def open_api() -> AsyncIterator[Api]:
    """A control plane's API; the caller is `credentials/tester`."""
    clock, fleet, artifacts = Clock(), FakeFleet(), FakeArtifacts()
    with tempfile.TemporaryDirectory(prefix="wp-") as directory:
        async with open_stores("sqlite://") as stores:
            kit = make_kit(stores, now=clock, ids=RandomIds())
            access = Access(Secrets(stores, clock))
            server = grpc_server(
                authorise=access.authorise, shows=access.shows, witness=Audit(stores.audit, clock).witness
            )
            credentials = CredentialService(kit, pin=lambda: PIN)
            _serve(server, kit, credentials, fleet, artifacts)
            address = listen(server, f"unix:{directory}/api.sock", Identity.local())
            await server.start()
            _, token = await credentials.issue("", "tester", credential_pb2.Credential(role=ROLE_ADMIN))
            channel = open_aio_channel(address, token=token)
            try:
                yield Api(address, channel, kit, stores, clock, fleet, artifacts, credentials)
            finally:
                await channel.close()
                await server.stop(None)
