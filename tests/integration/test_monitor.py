"""A real monitor process between a scripted agent and scripted hosts, over the real links.

The agent keeps a ledger as the real one does: it writes a decision down when its number is higher, and hands it back
with the next orders. What runs is whatever the test says.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh import clock, serve, settings, tokens
from mesh.identity import Identity
from mesh.link import LOCAL, ChildLink, DesiredState, Item, ParentSession, Refusal, Sessions
from mesh.link_grpc import ServerWire, dial_grpc
from mesh.metrics import Histogram
from tests.waiting import PATIENCE_S, until
from waypost.api.control.v1.position_pb2 import (
    REPLICA_STATE_FAILED,
    REPLICA_STATE_READY,
    PositionMetrics,
    PositionSpec,
)
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import link_pb2, monitor_link_pb2
from waypost.api.link.v1.host_link_pb2 import HOST_STATE_READY, HostMetrics, HostOrders, HostReport
from waypost.api.link.v1.host_link_pb2_grpc import HostLinkServiceStub
from waypost.api.link.v1.monitor_link_pb2_grpc import (
    MonitorLinkServiceServicer,
    add_MonitorLinkServiceServicer_to_server,
)
from waypost.api.xapp.v1 import access_pb2 as xapp
from waypost.api.xapp.v1.access_pb2_grpc import AccessServiceStub
from waypost.errors import Invalid, MeshError, Unauthenticated, Unavailable
from waypost.rpc import open_aio_channel

POSITION = "projects/uav/applications/path/positions/tower-7"
UID = "6f2c5a1e-0000-4000-8000-000000000001"
SECRET = "wp1_integration"
V1, V2 = ("models/gru/versions/1", "sha256:1"), ("models/gru/versions/2", "sha256:2")


class Agent(MonitorLinkServiceServicer):
    """Parent of link 2: gives orders, keeps decisions, hears metrics and events."""

    def __init__(self) -> None:
        self.orders = monitor_link_pb2.PositionOrders(
            position=POSITION,
            uid=UID,
            generation=1,
            spec=PositionSpec(serve_as="tower-model"),
            model_version=V1[0],
            digest=V1[1],
            server_cpu_millis=2000,
            server_memory_bytes=4 << 30,
            idempotent=True,
        )
        self.orders.endpoints.endpoint.gateway = "http://127.0.0.1:7680"
        self.orders.tokens.add(credential="credentials/c", sha256=hashlib.sha256(SECRET.encode()).hexdigest())
        self.metrics: list[PositionMetrics] = []
        self.events: list[link_pb2.ChildEvent] = []
        self.pace_s = 10.0
        self.sessions = Sessions()
        self.epoch = 0

    async def ConnectMonitor(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        handler = _MonitorSession(self)
        await handler.session.serve(ServerWire(context))

    @property
    def shares(self) -> list[tuple[str, int]]:
        """Of the last decision that was written down."""
        return [(share.digest, share.weight) for share in self.orders.decision.shares]

    def change(self) -> None:
        for session in self.sessions.all():
            session.poke()

    def wants(self, version: tuple[str, str]) -> None:
        self.orders.generation += 1
        self.orders.model_version, self.orders.digest = version
        self.change()

    def runs(self, *replicas: tuple[str, tuple[str, str], int]) -> None:
        """(id, version, state) of all that runs; everything else is gone."""
        del self.orders.replicas[:]
        for id_, (name, digest), state in replicas:
            failed = state == REPLICA_STATE_FAILED
            self.orders.replicas.add(
                id=id_,
                model_version=name,
                digest=digest,
                state=state,
                starts=3 if failed else 1,
                reason="LOAD_FAILED" if failed else "",
                message="no such operator" if failed else "",
                pid=os.getpid(),
            )
        self.change()

    def routes(self, *ids: str) -> None:
        endpoints = self.orders.endpoints
        endpoints.generation += 1
        del endpoints.replicas[:]
        for replica in self.orders.replicas:
            if replica.id in ids:
                endpoints.replicas.add(
                    id=replica.id,
                    grpc_address=f"unix:/{replica.id}",
                    weight=100,
                    model_version=replica.model_version,
                    digest=replica.digest,
                )
        self.change()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for what the monitor sends; tells what it sent where that does not come."""

        def told() -> str:
            return f"{self.orders.decision}{[event.reason for event in self.events]}, {len(self.metrics)} samples"

        await until(condition, more=told)

    @contextlib.asynccontextmanager
    async def serving(self, address: str) -> AsyncIterator[None]:
        server = serve.grpc_server()
        add_MonitorLinkServiceServicer_to_server(self, server)
        serve.listen(server, address, Identity.local())
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)


class _MonitorSession:
    """One session of the monitor (mesh.link.ParentHandler)."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.session = ParentSession(self, timing=LOCAL)

    async def admit(self, hello: link_pb2.Hello) -> int:
        assert hello.identity == POSITION
        self.agent.epoch += 1
        self.agent.sessions.enter(hello.identity, self.session)
        return self.agent.epoch

    async def desired(self) -> DesiredState:
        orders = self.agent.orders
        return DesiredState.of("agent", 1, [Item(POSITION, orders.generation, orders.SerializeToString())])

    async def may_prune(self, held: link_pb2.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        assert not refusals

    async def status(self, items: Mapping[str, link_pb2.StatusItem], full: bool) -> None:
        if POSITION in items:
            decision = monitor_link_pb2.MonitorReport.FromString(items[POSITION].body).decision
            if decision.number > self.agent.orders.decision.number:
                self.agent.orders.decision.CopyFrom(decision)
                self.agent.change()

    async def metrics(self, samples: Sequence[bytes]) -> None:
        self.agent.metrics += [PositionMetrics.FromString(sample) for sample in samples]

    async def events(self, events: Sequence[link_pb2.ChildEvent]) -> None:
        self.agent.events += events

    async def link_changed(self, connected: bool) -> None:
        if connected:
            self.session.set_interest([POSITION], self.agent.pace_s)
        else:
            self.agent.sessions.leave(POSITION, self.session)


class Host:
    """Child of link 3: hears its orders, sends what it is told (mesh.link.ChildHandler)."""

    def __init__(self, replica: str, address: str) -> None:
        self.replica = replica
        self.orders: HostOrders | None = None
        self.pace_s = 0.0
        self._address = address

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ChildLink]:
        async with asyncio.TaskGroup() as tasks:
            link = ChildLink(
                dial_grpc(
                    partial(open_aio_channel, self._address), lambda channel: HostLinkServiceStub(channel).ConnectHost
                ),
                self,
                identity=self.replica,
                boot_id=self.replica,
                rng=random.Random(1),
                timing=LOCAL,
            )
            link.report(self.replica, HostReport(state=HOST_STATE_READY).SerializeToString())
            life = tasks.create_task(link.run())
            yield link
            life.cancel()

    def refuse(self, item: Item) -> MeshError | None:
        return None

    async def keep(self, state: DesiredState) -> None:
        self.orders = HostOrders.FromString(state.items[self.replica].body)

    async def keep_epoch(self, epoch: int) -> None:
        return

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        assert names == {self.replica}
        self.pace_s = pace_s

    def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        raise NotImplementedError  # nobody commands a monitor here

    def link_changed(self, connected: bool) -> None:
        return


class Place:
    """A short directory with keys and settings, and the monitor's processes in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agent_address = f"unix:{directory}/agent.sock"
        self.monitor_address = f"unix:{directory}/monitor.sock"
        self.key = tokens.new_signing_key()
        self.jwks = tokens.jwks(self.key)
        (directory / "signing_key.pem").write_bytes(self.key)
        (directory / "jwks.json").write_text(self.jwks)
        (directory / "settings.toml").write_text(
            settings.dump_toml(
                {
                    "position": POSITION,
                    "position_uid": UID,
                    "agent": self.agent_address,
                    "listen": self.monitor_address,
                    "signing_key": str(directory / "signing_key.pem"),
                    "jwks": str(directory / "jwks.json"),
                }
            )
        )

    @contextlib.asynccontextmanager
    async def monitor(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """A running monitor; killed at the end if it still runs, and its log shown where the test failed."""
        with (self.directory / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "position_monitor",
                "--settings",
                str(self.directory / "settings.toml"),
                stderr=log,
            )
        try:
            yield process
        except BaseException:
            sys.stderr.write((self.directory / "log").read_text(errors="replace"))
            raise
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def access(self, token: str | None = None) -> AsyncIterator[AccessServiceStub]:
        async with open_aio_channel(self.monitor_address, token=token) as channel:
            yield AccessServiceStub(channel)


def in_place(scenario: Callable[[Place], Any]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="wpm-"))  # pytest's own are too long for a Unix socket
    try:
        asyncio.run(scenario(Place(directory)))
    finally:
        shutil.rmtree(directory)


def ready(id_: str, version: tuple[str, str]) -> tuple[str, tuple[str, str], int]:
    return id_, version, REPLICA_STATE_READY


async def in_service(agent: Agent) -> None:
    """Until the first version stands and is routed to."""
    agent.runs(ready("r-aaaaaa", V1))
    agent.routes("r-aaaaaa")
    await agent.until(lambda: agent.shares == [(V1[1], 100)])


async def registered(place: Place) -> xapp.RegisterResponse:
    """As an xApp does it while the monitor starts: again, until it is there."""
    request = xapp.RegisterRequest(application_token=SECRET, client="cell-7")
    async with place.access() as access:
        return await until(lambda: access.Register(request), not_yet=Unavailable)


def test_a_position_goes_into_service_and_through_a_rollout() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with agent.serving(place.agent_address), place.monitor():
            await agent.until(lambda: agent.shares == [(V1[1], 0)])
            await in_service(agent)
            agent.wants(V2)
            await agent.until(lambda: agent.shares == [(V1[1], 100), (V2[1], 0)])
            agent.runs(ready("r-aaaaaa", V1), ready("r-bbbbbb", V2))
            await agent.until(lambda: agent.shares == [(V1[1], 0), (V2[1], 100)])
            agent.routes("r-bbbbbb")
            await agent.until(lambda: agent.shares == [(V2[1], 100)])
            assert agent.orders.decision.generation == 2
            await agent.until(lambda: [event.reason for event in agent.events].count("ROLLOUT") == 5)

    in_place(scenario)


def test_a_version_that_does_not_start_is_rejected_until_it_is_cleared() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with agent.serving(place.agent_address), place.monitor():
            await in_service(agent)
            agent.wants(V2)
            await agent.until(lambda: len(agent.shares) == 2)
            agent.runs(ready("r-aaaaaa", V1), ("r-bbbbbb", V2, REPLICA_STATE_FAILED))
            await agent.until(lambda: len(agent.orders.decision.verdicts) == 1)
            assert agent.shares == [(V1[1], 100)]
            assert "LOAD_FAILED: no such operator" in agent.orders.decision.verdicts[0].evidence
            await agent.until(lambda: any(event.reason == "VERSION_REJECTED" for event in agent.events))
            agent.runs(ready("r-aaaaaa", V1))
            del agent.orders.decision.verdicts[:]
            agent.orders.decision.number += 1
            agent.change()
            await agent.until(lambda: agent.shares == [(V1[1], 100), (V2[1], 0)])

    in_place(scenario)


def test_a_killed_monitor_goes_on_where_it_was() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with agent.serving(place.agent_address):
            async with place.monitor() as monitor:
                await in_service(agent)
                agent.wants(V2)
                agent.runs(ready("r-aaaaaa", V1), ready("r-bbbbbb", V2))
                await agent.until(lambda: agent.shares == [(V1[1], 0), (V2[1], 100)])
                monitor.kill()
            number = agent.orders.decision.number
            async with place.monitor():
                agent.routes("r-bbbbbb")
                await agent.until(lambda: agent.shares == [(V2[1], 100)])
            assert agent.orders.decision.number == number + 1

    in_place(scenario)


def test_hosts_hear_the_keys_and_their_counts_go_up_with_what_they_use() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        agent.pace_s = 1.0
        host = Host("r-aaaaaa", place.monitor_address)
        latency = Histogram()
        latency.add(0.002, 5)
        counted = HostMetrics(window_ms=1000, requests=5, errors=1, queue_depth=2, latency=latency.to_proto())
        async with agent.serving(place.agent_address), place.monitor(), host.running() as link:
            await in_service(agent)
            await until(lambda: host.orders is not None and host.pace_s == 1.0)
            assert host.orders is not None
            assert (host.orders.jwks, host.orders.position_uid) == (place.jwks, UID)
            agent.wants(V1)
            await until(lambda: host.orders is not None and host.orders.generation == 2)
            link.sample(counted.SerializeToString())
            await agent.until(lambda: sum(metrics.requests for metrics in agent.metrics) == 5)
            (metrics,) = (metrics for metrics in agent.metrics if metrics.requests)
            assert (metrics.errors, metrics.queue_depth, metrics.window_ms) == (1, 2, 1000)
            assert metrics.memory_share == metrics.memory_bytes / (4 << 30) > 0
            (replica,) = metrics.replicas
            assert (replica.id, replica.requests) == ("r-aaaaaa", 5)
            assert 0 < replica.memory_bytes < metrics.memory_bytes

    in_place(scenario)


def test_an_xapp_registers_renews_resolves_and_reports() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        agent.pace_s = 1.0
        async with agent.serving(place.agent_address), place.monitor():
            answer = await registered(place)
            assert (answer.model, answer.position_uid, answer.idempotent) == ("tower-model", UID, True)
            claims = tokens.Verifier(place.jwks, UID).verify(f"Bearer {answer.access_token}", clock.now())
            assert (claims.client, claims.subject) == ("cell-7", "credentials/c")
            await in_service(agent)
            async with place.access(answer.access_token) as access:
                assert (await access.Renew(xapp.RenewRequest())).expires_in_s == tokens.LIFETIME_S
                resolved = await access.Resolve(xapp.ResolveRequest(position="uav/path/tower-7"))
                assert [replica.id for replica in resolved.endpoints.replicas] == ["r-aaaaaa"]
                loops = [xapp.LoopReport(duration_ms=8.0), xapp.LoopReport(duration_ms=-1.0)]
                report = xapp.ReportLoopsRequest(loops=loops)
                assert (await access.ReportLoops(report)).accepted == 1
                await agent.until(lambda: any(sum(metrics.closed_loop.counts) for metrics in agent.metrics))
                agent.orders.tokens.pop()
                agent.wants(V1)
                await agent.until(lambda: agent.orders.decision.generation == 2)
                with pytest.raises(Unauthenticated, match="revoked"):
                    await access.Renew(xapp.RenewRequest())

    in_place(scenario)


def test_watchers_see_endpoints_come_and_go() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with agent.serving(place.agent_address), place.monitor():
            answer = await registered(place)
            async with place.access(answer.access_token) as access, asyncio.timeout(PATIENCE_S):
                watch = access.WatchEndpoints(xapp.WatchEndpointsRequest())
                seen = aiter(watch)
                assert not (await anext(seen)).endpoints.replicas
                agent.runs(ready("r-aaaaaa", V1))
                agent.routes("r-aaaaaa")
                assert [replica.id for replica in (await anext(seen)).endpoints.replicas] == ["r-aaaaaa"]
                agent.routes()
                assert not (await anext(seen)).endpoints.replicas

    in_place(scenario)


def test_what_an_xapp_does_wrong_is_told_in_words() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with agent.serving(place.agent_address), place.monitor():
            good = (await registered(place)).access_token
            elsewhere = tokens.mint(place.key, audience="other", subject="s", client="", now=clock.now())
            register, loops = xapp.RegisterRequest, xapp.ReportLoopsRequest
            many = loops(loops=[xapp.LoopReport(duration_ms=1.0)] * 1001)
            named = register(application_token=SECRET, position="other")
            async with place.access() as access:
                await refused(access.Register(register(application_token="wp1_wrong")), Unauthenticated, "BAD_TOKEN")
                await refused(access.Register(register()), Unauthenticated, "NO_TOKEN")
                await refused(access.Register(named), Invalid, "WRONG_POSITION")
                await refused(access.Register(register(application_token=SECRET, client="x\n")), Invalid, "BAD_CLIENT")
                await refused(access.Resolve(xapp.ResolveRequest()), Unauthenticated, "NO_TOKEN")
            async with place.access(elsewhere) as access:
                await refused(access.Renew(xapp.RenewRequest()), Unauthenticated, "WRONG_POSITION")
            async with place.access(good) as access:
                await refused(access.Resolve(xapp.ResolveRequest(position="other")), Invalid, "WRONG_POSITION")
                await refused(access.ReportLoops(many), Invalid, "TOO_MANY_LOOPS")

    in_place(scenario)


def test_xapps_are_served_while_the_agent_is_away_and_the_decision_stands() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        async with place.monitor():
            async with agent.serving(place.agent_address):
                await in_service(agent)
                await agent.until(lambda: "gru/1 serves" in agent.orders.decision.reason)
            number = agent.orders.decision.number
            assert (await registered(place)).access_token
            agent.sessions = Sessions()
            async with agent.serving(place.agent_address):
                await agent.until(lambda: bool(agent.sessions.all()))
                agent.wants(V2)
                await agent.until(lambda: len(agent.shares) == 2)
            assert agent.orders.decision.number == number + 1

    in_place(scenario)


def test_sigterm_ends_it_at_once_with_streams_open() -> None:
    async def scenario(place: Place) -> None:
        agent = Agent()
        host = Host("r-aaaaaa", place.monitor_address)
        async with agent.serving(place.agent_address), place.monitor() as monitor, host.running():
            await until(lambda: host.orders is not None)
            monitor.send_signal(signal.SIGTERM)
            async with asyncio.timeout(3):
                assert await monitor.wait() == 0

    in_place(scenario)


def test_a_missing_key_file_is_named() -> None:
    async def scenario(place: Place) -> None:
        (place.directory / "jwks.json").unlink()
        async with place.monitor() as monitor:
            assert await monitor.wait() == 1
        log = (place.directory / "log").read_text()
        assert "jwks.json cannot be read" in log
        assert "hint:" in log

    in_place(scenario)


async def refused(call: Any, kind: type[MeshError], reason: str) -> None:
    with pytest.raises(kind) as caught:
        await call
    assert caught.value.reason == reason
    assert caught.value.hint
