"""The agent's parts, put together; `Agent.run` lets them live."""

import asyncio
import random
import secrets
import socket
import string
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import structlog

from edge_agent.artifacts.blobs import Blobs
from edge_agent.artifacts.store import Artifacts
from edge_agent.box.service import BoxService
from edge_agent.drivers import open_driver
from edge_agent.gateways import open_gateway
from edge_agent.identity.authority import LinkAuthority
from edge_agent.identity.enrolment import Enrolment, EnrolmentFile
from edge_agent.identity.local_links import Links, SocketLinks, TlsLinks
from edge_agent.identity.renewal import Renewal
from edge_agent.links.commands import Commands
from edge_agent.links.monitors import MonitorEars, Monitors
from edge_agent.links.uplink import Uplink, capacity, describe_for_ever
from edge_agent.links.upstreams import Upstreams
from edge_agent.machine.layout import Layout
from edge_agent.machine.software import Software
from edge_agent.machine.wall_clock import WallClock
from edge_agent.reconcile.gate import StartGate
from edge_agent.reconcile.health import HealthChecks, HealthTiming
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.probe import GatewayProbe
from edge_agent.reconcile.router import Router
from edge_agent.reconcile.supervise import Supervisor
from edge_agent.settings import AgentSettings
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Moment, Solitude
from mesh import clock, serve
from mesh.clock import RandomIds
from mesh.identity import Identity
from mesh.version import VERSION
from waypost import names
from waypost.api.edge.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport
from waypost.api.link.v1.monitor_link_pb2_grpc import add_MonitorLinkServiceServicer_to_server
from waypost.errors import Unavailable

log = structlog.get_logger()

ID_ALPHABET = string.ascii_lowercase + string.digits
ID_CHARS = 6
LOADING_MIN = 2  # hosts that may load at once, however few CPUs there are: one that waits for a disk stops nobody
QUIET = frozenset({"/waypost.api.link.v1.MonitorLinkService/ConnectMonitor"})


class Agent:
    """One agent. Create it inside a running event loop; what it opens is closed by `stack`."""

    def __init__(self, settings: AgentSettings, layout: Layout, enrolment: Enrolment, stack: AsyncExitStack) -> None:
        ids, self._version = RandomIds(), VERSION
        self._layout = layout
        self._ledger = Ledger(layout.ledger)
        self._software = Software(layout.software)
        self._driver = open_driver(settings.driver, layout, log_level=settings.log_level)
        stack.push_async_callback(self._driver.close)
        self._gateway = open_gateway(settings, layout)
        self._links = open_links(settings, enrolment)
        self._monitors = Monitors(
            self._ledger,
            incarnation=ids.uuid(),
            edge_server=names.leaf(enrolment.edge_server),
        )
        self._solitude = Solitude(self._ledger.alone, self._ledger.keep_alone, lambda: Moment.now(clock.now()))
        self._uplink = Uplink(
            self._ledger,
            self._solitude,
            edge_server=enrolment.edge_server,
            boot_id=ids.uuid(),
        )
        self._wall_clock = WallClock(self._ledger.newest_time, self._ledger.keep_newest_time, clock.now)
        self._wall_clock.not_before(enrolment.life.issued)
        rng, self._known_address = random.Random(), settings.control_plane
        self._upstreams = Upstreams(self._known_address or enrolment.link_address, enrolment.identity.tls(), rng)
        stack.push_async_callback(self._upstreams.close)
        self._renewal = Renewal(
            settings,
            EnrolmentFile(layout.identity),
            enrolment,
            changed=self._use_certificate,
            tell=lambda reason, message: self._uplink.event(enrolment.edge_server, reason, message),
        )
        self._uplink.open(self._upstreams.dial, rng, refused=self._renewal.refused, redirected=self._upstreams.redirect)
        self._parts = self._make_parts(settings, stack)
        self._supervisor = Supervisor(self._parts)
        find, wake = self._supervisor.assignment, self._supervisor.wake
        self._commands = Commands(self._parts, find, wake, self._renewal.ask)
        self._news = asyncio.Event()
        """Something about this edge server is to be said at once."""
        self._box = BoxService(
            self._ledger,
            self._solitude,
            self._commands,
            edge_server=enrolment.edge_server,
            software_version=self._version,
            reports=lambda: self._uplink.reports,
            mode_changed=self._follow_mode,
        )
        connect(self._supervisor, self._uplink, self._monitors, self._commands)

    def _make_parts(self, settings: AgentSettings, stack: AsyncExitStack) -> Parts:
        server = self._driver.fingerprint()
        blobs = Blobs(self._layout.blobs, self._upstreams, bytes_max=settings.artifact_bytes_max)
        probe = GatewayProbe(self._gateway.address)
        stack.push_async_callback(probe.close)
        return Parts(
            layout=self._layout,
            ledger=self._ledger,
            driver=self._driver,
            artifacts=Artifacts(self._layout.versions, blobs),
            health=HealthChecks(HealthTiming(every=settings.probe_every_s, misses=settings.probe_misses)),
            gate=StartGate(max(LOADING_MIN, server.cpu_millis // 1000)),
            router=Router(self._gateway),
            probe=probe,
            monitors=self._monitors,
            links=self._links,
            reports=self._uplink,
            solitude=self._solitude,
            software=self._software,
            server=server,
            gateway_address=self._gateway.address,
            domain=settings.gateway_domain,
            grace_s=settings.drain_grace_s,
            hung_after_s=settings.hung_after_s,
            ports=settings.ports,
            port_is_free=lambda port: all(
                port_is_free(listen, port) for listen in (settings.gateway_listen, settings.link_listen) if listen
            ),
            new_replica_id=new_replica_id,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; hosts, monitors and the gateway go on then. Raises: MeshError where it cannot start."""
        self._driver.warm_up()
        await self._start_gateway()
        server = serve.grpc_server(quiet=QUIET)
        add_MonitorLinkServiceServicer_to_server(self._monitors, server)
        serve.listen(server, self._layout.agent_address, Identity.local())
        self._links.listen(server)
        box = serve.grpc_server()
        add_AgentServiceServicer_to_server(self._box, box)
        serve.listen(box, self._layout.box_address, Identity.local())
        await server.start()
        await box.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                lives = {
                    "supervise": self._supervisor.run(),
                    "uplink": self._uplink.run(),
                    "solitude": self._solitude.run(),
                    "renewal": self._renewal.run(),
                    "links": self._links.run(),
                    "wall-clock": self._wall_clock.run(),
                    "describe": describe_for_ever(
                        self._uplink,
                        partial(self._description, await self._gateway.version()),
                        self._layout.data_dir,
                        self._ledger,
                        self._news,
                        lambda: [self._renewal.condition(), self._wall_clock.condition()],
                    ),
                }
                running = [tasks.create_task(life, name=name) for name, life in lives.items()]
                log.info("agent_runs", data_dir=str(self._layout.data_dir), gateway=self._gateway.address)
                await stop.wait()
                for task in running:
                    task.cancel()
        finally:
            await box.stop(None)
            await server.stop(None)  # monitors dial again as soon as there is an agent

    async def _use_certificate(self, enrolment: Enrolment) -> None:
        """Everything that is begun from now on comes with it."""
        self._wall_clock.dated(enrolment.life.issued)
        self._links.follow(enrolment)
        self._supervisor.wake_all()
        await self._upstreams.renew(self._known_address or enrolment.link_address, enrolment.identity.tls())
        self._news.set()
        self._uplink.redial()

    def _follow_mode(self) -> None:
        self._news.set()
        self._supervisor.mode_changed()

    async def _start_gateway(self) -> None:
        """A taken port must be heard of at once; a gateway that fails otherwise is started again with its routes."""
        try:
            await self._gateway.start()
        except Unavailable as error:
            log.error("gateway_failed", why=error.message, hint=error.hint)

    def _description(self, gateway_version: str) -> EdgeServerReport:
        server = self._parts.server
        return EdgeServerReport(
            agent_version=self._version,
            driver=self._driver.name,
            driver_version=server.driver_version,
            gateway=self._gateway.name,
            gateway_version=gateway_version,
            gateway_address=self._gateway.address,
            capacity=capacity(server),
            trusted_roots=self._renewal.enrolment.trusted_roots,
            software_versions=self._software.versions,
        )


def connect(supervisor: Supervisor, uplink: Uplink, monitors: Monitors, commands: Commands) -> None:
    """Who hears whom."""
    uplink.serve(
        commands,
        desired_changed=supervisor.desired_changed,
        connected=supervisor.source_is_back,
        interest=monitors.set_interest,
    )
    monitors.listen(
        MonitorEars(
            wake=supervisor.wake_position,
            sample=uplink.sample,
            event=lambda position, reason, message: uplink.event(position, reason, message, source="monitor"),
        )
    )


def open_links(settings: AgentSettings, enrolment: Enrolment) -> Links:
    """How monitors and hosts reach their parents."""
    if not settings.link_listen:
        return SocketLinks()
    authority = LinkAuthority(enrolment, timedelta(hours=settings.link_certificate_hours), clock.now)
    return TlsLinks(authority, settings.link_listen, settings.advertise_address)


def new_replica_id() -> str:
    """`r-` and six characters: two thousand million of them."""
    return "r-" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_CHARS))


def port_is_free(listen: str, port: int) -> bool:
    """Whether somebody who listens at `listen` could open this port beside."""
    host = listen.rpartition(":")[0].strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taker.bind((host, port))
        except OSError:
            return False
    return True
