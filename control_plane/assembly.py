"""Which part gets which: the one place where all parts of the control plane meet."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.access import Access, Secrets
from control_plane.access.attempts import Attempts
from control_plane.access.oidc import Oidc, issuer_of
from control_plane.access.passwords import Passwords
from control_plane.artifacts.service import ArtifactService, ArtifactSourceService
from control_plane.artifacts.store import ArtifactStore
from control_plane.audit import Audit
from control_plane.fleet.caller import LinkAccess
from control_plane.fleet.fleet import Fleet
from control_plane.fleet.service import AgentLinkService
from control_plane.identity.authority import Authority
from control_plane.identity.enrolment import EnrolmentService, Place
from control_plane.identity.identities import advertised_address, peer_address
from control_plane.identity.own import OwnIdentity
from control_plane.peers.artifacts import Copies, SpreadArtifacts
from control_plane.peers.calls import PeerCalls
from control_plane.peers.fleet import SpreadFleet
from control_plane.peers.holdings import Holdings
from control_plane.peers.joining import agree_on_authority, known_id
from control_plane.peers.membership import Membership
from control_plane.peers.peering import Peering
from control_plane.peers.service import PeerService
from control_plane.reconcile.loop import Reconciler
from control_plane.registry.check import PackageCheck
from control_plane.registry.registry import Registry
from control_plane.root_rotation import RootRotation
from control_plane.services.admin_token import keep_admin_token
from control_plane.services.application import ApplicationService
from control_plane.services.audit import AuditService
from control_plane.services.authority import AuthorityService
from control_plane.services.credential import CredentialService
from control_plane.services.edge_server import EdgeServerService
from control_plane.services.event import EventService
from control_plane.services.kit import make_kit
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
from control_plane.settings import ControlPlaneSettings
from control_plane.sources.grpc import GrpcSource
from control_plane.store import Peer, Stores
from mesh import clock, serve
from mesh.files import private_directory
from mesh.link import Timing
from mesh.version import VERSION
from waypost.api.control.v1 import (
    application_pb2_grpc,
    artifact_pb2_grpc,
    audit_pb2_grpc,
    authority_pb2_grpc,
    credential_pb2_grpc,
    edge_server_pb2_grpc,
    event_pb2_grpc,
    model_pb2_grpc,
    platform_pb2_grpc,
    position_pb2_grpc,
    project_pb2_grpc,
    role_binding_pb2_grpc,
    session_pb2_grpc,
    subscription_pb2_grpc,
    user_pb2_grpc,
    watch_pb2_grpc,
)
from waypost.api.link.v1 import agent_link_pb2_grpc, artifact_source_pb2_grpc, enrolment_pb2_grpc, peer_pb2_grpc

log = structlog.get_logger()

QUIET = frozenset(  # so many, or for so long, that a line each would hide the others
    (
        "/waypost.api.control.v1.WatchService/Watch",
        "/waypost.api.link.v1.ArtifactSourceService/ReadArtifact",
        "/waypost.api.link.v1.PeerService/StatArtifact",
        "/grpc.health.v1.Health/Check",
    )
)

API_BYTES_MAX = 4 << 20
"""Of a message from a caller, whoever it be: pieces of an upload have 256 KiB, and an inference that is tried out is
for a look. What is larger goes to the position itself."""

LINK_BYTES_MAX = 16 << 20
"""Of a message from an agent: its first status names all positions at once, some kilobytes each. What it answers to an
inference that is tried out has half of that at most (edge_agent.links.commands)."""

_NAMES = (
    "Application Artifact Audit Authority Credential EdgeServer Event Model Platform Position Project RoleBinding"
    " Session Subscription User Watch"
)
SHOWN = (
    *(f"waypost.api.control.v1.{name}Service" for name in _NAMES.split()),
    *("waypost.api.link.v1.EnrolmentService", health.SERVICE_NAME, reflection.SERVICE_NAME),
)
"""What reflection names: everything on the API's port."""


class ControlPlane:
    """Everything, listening and not yet serving: `start`, then run `tasks` until it is time to `stop`."""

    def __init__(self, settings: ControlPlaneSettings, data_dir: Path, stores: Stores, *, rng: random.Random) -> None:
        """Raises MeshError: a port that is taken, an identity that is not whole."""
        ids = clock.RandomIds()
        self._version = VERSION
        self._stores = stores
        self._kit = make_kit(stores, now=clock.now, ids=ids)
        self._secrets = Secrets(stores, clock.now)
        self._login = Login(self._kit, Passwords(), Attempts(), settings.session_hours * 3600)
        self._artifacts = ArtifactStore(data_dir / "artifacts").open()
        self._admin_token = data_dir / "admin.token"
        self._renewal_grace = timedelta(days=settings.renewal_grace_days)
        self._listen(settings, data_dir)
        me = Peer(
            known_id(data_dir, ids), ids.uuid(), peer_address(settings, self._link_bound), self._link_address, VERSION
        )
        self._membership = Membership(stores, me)
        self._calls = PeerCalls(lambda: self._own.link.current)
        timing = Timing(lease=settings.lease_s, heartbeat=settings.heartbeat_s)
        self._fleet = Fleet(stores, run=me.run, timing=timing, link_address=self._link_address)
        self._spread_fleet = SpreadFleet(self._fleet, stores.claims, self._membership, self._calls)
        self._spread_artifacts = SpreadArtifacts(self._artifacts, self._membership, self._calls)
        self._rotation = RootRotation(self._authority, self._own, stores, self._spread_fleet, ids)
        open_source = partial(GrpcSource, directory=private_directory(data_dir / "sources"))
        check = PackageCheck(settings.check_timeout_s, allow_unconfined=settings.allow_unconfined_checks)
        if settings.allow_unconfined_checks:
            log.warning("unconfined_checks_allowed", data_dir=str(data_dir))
        packages = data_dir / "packages"
        holdings = Holdings(stores.claims, self._membership)
        registry = Registry(stores, self._spread_artifacts, open_source, check, packages, holdings, ids=ids, rng=rng)
        self.tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "store": stores.follow,
            "reconcile": Reconciler(stores).run,
            "fleet": self._fleet.run,
            "registry": registry.run,
            "identity": self._own.run,
            "rotation": self._rotation.run,
        }
        if stores.is_shared:
            self.tasks["peers"] = Peering(stores, self._membership, holdings, self._fleet, self._calls).run
            self.tasks["copies"] = Copies(stores, self._spread_artifacts, rng).run

    def _listen(self, settings: ControlPlaneSettings, data_dir: Path) -> None:
        """Takes both ports, each with its certificate; the link always shows one of our own."""
        self._authority = Authority.open(
            data_dir / "identity",
            now=clock.now(),
            certificate=settings.ca_certificate,
            key=settings.ca_key,
            agent_life=timedelta(days=settings.agent_certificate_days),
        )
        self._own = OwnIdentity(settings, self._authority, data_dir / "ca.pem", clock.now)
        self._link_access = LinkAccess(self._kit.resources, self._authority)
        self._link = serve.grpc_server(authorise=self._link_access, quiet=QUIET, receives_bytes_max=LINK_BYTES_MAX)
        self._link_bound = serve.listen(self._link, settings.link_listen, self._own.link, mutual=True)
        self._link_address = advertised_address(settings, self._link_bound)
        witness = Audit(self._stores.audit, clock.now).witness
        issuer = issuer_of(settings)
        access = Access(self._secrets, Oidc(issuer, clock.now) if issuer else None)
        self._api = serve.grpc_server(
            authorise=access.authorise,
            shows=access.shows,
            witness=witness,
            quiet=QUIET,
            receives_bytes_max=API_BYTES_MAX,
        )
        self._api_bound = serve.listen(self._api, settings.listen, self._own.api)

    async def start(self) -> None:
        """Serves, once everything that calls lean on is there."""
        await agree_on_authority(self._stores.facts, self._authority.pins)
        credentials = CredentialService(self._kit, pin=lambda: self._own.api_pin)
        await keep_admin_token(self._stores, credentials, self._admin_token, is_store_shared=self._stores.is_shared)
        self._add_link_services()
        self._add_api_services(credentials)
        await self._membership.open()
        await self._fleet.open(self._membership.lives)
        await self._link.start()
        await self._api.start()
        log.info("serving", api=self._api_bound, link=self._link_bound, advertised=self._link_address)

    async def stop(self, grace_s: float) -> None:
        """Says goodbye to the agents, lets calls under way end, writes what is not written. Harmless before `start`."""
        self._fleet.say_goodbye([peer.link_address for peer in self._membership.others.values()])
        await asyncio.gather(self._api.stop(grace_s), self._link.stop(grace_s))  # neither takes anybody in meanwhile
        await self._fleet.close()
        await self._calls.close()
        await self._membership.close()  # last: from here on our agents are others' to speak of

    def _add_link_services(self) -> None:
        agent_link_pb2_grpc.add_AgentLinkServiceServicer_to_server(
            AgentLinkService(self._fleet, self._link_access), self._link
        )
        artifact_source_pb2_grpc.add_ArtifactSourceServiceServicer_to_server(
            ArtifactSourceService(self._spread_artifacts), self._link
        )
        peer = PeerService(self._fleet, self._artifacts, self._spread_artifacts)
        peer_pb2_grpc.add_PeerServiceServicer_to_server(peer, self._link)

    def _add_api_services(self, credentials: CredentialService) -> None:
        api, kit = self._api, self._kit
        application_pb2_grpc.add_ApplicationServiceServicer_to_server(ApplicationService(kit), api)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactService(self._spread_artifacts), api)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(kit), api)
        authority = AuthorityService(self._authority, self._own, self._rotation)
        authority_pb2_grpc.add_AuthorityServiceServicer_to_server(authority, api)
        credential_pb2_grpc.add_CredentialServiceServicer_to_server(credentials, api)
        edge_server_pb2_grpc.add_EdgeServerServiceServicer_to_server(EdgeServerService(kit), api)
        event_pb2_grpc.add_EventServiceServicer_to_server(EventService(kit), api)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(kit, self._spread_artifacts), api)
        platform = PlatformService(kit, version=self._version, link_address=self._link_address)
        platform_pb2_grpc.add_PlatformServiceServicer_to_server(platform, api)
        position_pb2_grpc.add_PositionServiceServicer_to_server(PositionService(kit, self._spread_fleet), api)
        project_pb2_grpc.add_ProjectServiceServicer_to_server(ProjectService(kit), api)
        role_binding_pb2_grpc.add_RoleBindingServiceServicer_to_server(RoleBindingService(kit), api)
        subscription_pb2_grpc.add_SubscriptionServiceServicer_to_server(SubscriptionService(kit), api)
        session_pb2_grpc.add_SessionServiceServicer_to_server(SessionService(kit, self._login), api)
        user_pb2_grpc.add_UserServiceServicer_to_server(UserService(kit, self._login), api)
        watch_pb2_grpc.add_WatchServiceServicer_to_server(WatchService(kit), api)
        enrolment = EnrolmentService(
            self._stores,
            self._secrets,
            self._authority,
            Place(self._link_address, lambda: self._own.api_roots),
            renewal_grace=self._renewal_grace,
            now=clock.now,
        )
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(enrolment, api)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), api)
        reflection.enable_server_reflection(SHOWN, api)
