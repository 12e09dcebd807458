"""Two control planes over one PostgreSQL: all alike, and either may be killed at any moment."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import models, postgres
from tests.integration.control_plane_process import (
    Agent,
    Certificate,
    ControlPlaneProcess,
    agent,
    enrol,
    make_application,
    make_edge_server,
    share_authority,
    until,
)
from tests.integration.test_control_plane import (
    EDGE_SERVER,
    deploy,
    imported,
    is_connected,
    is_followed,
    is_judged,
    make_version,
    scenario,
    shown,
    start_failing,
    subscribe,
    subscription,
    upload,
    version,
    versions,
)
from tests.integration.test_training import platform
from training_platform import publish
from training_platform.access import activation_token
from waypost.api.control.v1 import (
    edge_server_pb2,
    model_pb2,
    position_pb2,
    position_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from waypost.api.link.v1 import artifact_source_pb2, artifact_source_pb2_grpc, peer_pb2, peer_pb2_grpc
from waypost.errors import Denied, MeshError
from waypost.rpc import open_aio_channel

if not postgres.SERVER:
    pytest.skip("no PostgreSQL server is named; `make test-postgres` starts one", allow_module_level=True)

OPTIONS = ("--lease-s", "3", "--heartbeat-s", "0.5")


@dataclass
class Pair:
    one: ControlPlaneProcess
    two: ControlPlaneProcess

    @property
    def links(self) -> str:
        return f"{self.one.link},{self.two.link}"

    def other(self, plane: ControlPlaneProcess) -> ControlPlaneProcess:
        return self.two if plane is self.one else self.one


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """On one database, with one authority."""
    with contextlib.ExitStack() as held:
        url = held.enter_context(postgres.database())
        one, two = (ControlPlaneProcess(tmp_path / name, "--database-url", url, *OPTIONS) for name in ("one", "two"))
        for plane in (one, two):
            if plane is two:
                share_authority(one, two)
            plane.start()
            held.callback(plane.kill)
        yield Pair(one, two)


async def joined(pair: Pair, name: str = "tower") -> Certificate:
    async with pair.one.channel() as channel:
        return await enrol(pair.two, await make_edge_server(channel, name))


@asynccontextmanager
async def connected(pair: Pair, certificate: Certificate, seed: int = 1) -> AsyncIterator[Agent]:
    async with agent(pair.one, certificate, EDGE_SERVER, addresses=pair.links, seed=seed) as edge:
        await until(lambda: shown(pair.one), is_connected)
        yield edge


def home(pair: Pair, edge: Agent) -> ControlPlaneProcess:
    """Whoever has its session."""
    return pair.one if edge.upstreams.current == pair.one.link else pair.two


async def logs(plane: ControlPlaneProcess, position: str) -> str:
    """Read by a command to the agent."""
    async with plane.channel() as channel:
        request = position_pb2.ReadPositionLogsRequest(name=position)
        stub: Any = position_pb2_grpc.PositionServiceStub(channel)
        return "".join([piece.text async for piece in stub.ReadPositionLogs(request, timeout=10)])


async def read_artifact(plane: ControlPlaneProcess, certificate: Certificate, digest: str) -> bytes:
    async with open_aio_channel(plane.link, tls=certificate.tls) as link:
        source = artifact_source_pb2_grpc.ArtifactSourceServiceStub(link)
        request = artifact_source_pb2.ReadArtifactRequest(digest=digest)
        return b"".join([piece.data async for piece in source.ReadArtifact(request)])


async def _items(edge: Agent) -> set[str]:
    return {name.rpartition("/")[2] for name in edge.held.items}


# ---- all alike -------------------------------------------------------------------------------------------------------


@scenario
async def test_on_postgres_what_is_asked_of_either_is_the_same(pair: Pair, tmp_path: Path) -> None:
    certificate = await joined(pair)
    async with connected(pair, certificate) as edge, pair.one.channel() as one, pair.two.channel() as two:
        application = await make_application(one)
        artifact = await upload(one, models.affine(tmp_path / "affine.onnx"))
        name = await make_version(two, application, "1", tmp_path / "affine.onnx")
        for plane in (pair.one, pair.two):
            judged = await until(lambda plane=plane: version(plane, name), is_judged)
            assert judged.state == model_pb2.MODEL_VERSION_STATE_AVAILABLE
            content = await read_artifact(plane, certificate, artifact.digest)
            assert content == (tmp_path / "affine.onnx").read_bytes()
        for number, channel in enumerate((one, two)):
            await deploy(channel, application, name, f"cell-{number}")
            await until(lambda: _items(edge), lambda held, number=number: f"cell-{number}" in held)
        for plane in (pair.one, pair.two):
            assert await logs(plane, f"{application}/positions/cell-0") == f"asked for {application}/positions/cell-0\n"


@scenario
async def test_on_postgres_a_watch_sees_what_another_control_plane_commits(pair: Pair) -> None:
    async with pair.one.channel() as one, pair.two.channel() as two:
        changes = watch_pb2_grpc.WatchServiceStub(two).Watch(watch_pb2.WatchRequest())
        async for response in changes:
            if response.HasField("snapshot_end"):
                break
        await make_application(one, "p", "a")
        seen = [await anext(changes), await anext(changes)]
        assert [response.WhichOneof("change") for response in seen] == ["project", "application"]


@scenario
async def test_on_postgres_live_figures_are_heard_wherever_the_agent_is(pair: Pair, tmp_path: Path) -> None:
    certificate = await joined(pair)
    async with connected(pair, certificate) as edge, pair.one.channel() as one, pair.two.channel() as two:
        application = await make_application(one)
        name = await make_version(one, application, "1", models.affine(tmp_path / "affine.onnx"))
        await until(lambda: version(pair.one, name), is_judged)
        position = (await deploy(one, application, name, "cell")).name
        await until(lambda: _items(edge), lambda held: held == {"cell"})
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(_measure_for_ever(edge, position))
            for channel in (one, two, one):
                stub: Any = position_pb2_grpc.PositionServiceStub(channel)
                figures = stub.WatchPositionMetrics(position_pb2.WatchPositionMetricsRequest(name=position))
                assert (await anext(figures)).metrics.requests == 7
                if channel is two:  # the agent moves in the middle
                    before = home(pair, edge)
                    await asyncio.to_thread(before.kill)
                    await asyncio.to_thread(before.start)
                    break
                await figures.aclose()
            async with home(pair, edge).channel() as survivor:
                stub = position_pb2_grpc.PositionServiceStub(survivor)
                figures = stub.WatchPositionMetrics(position_pb2.WatchPositionMetricsRequest(name=position))
                assert (await anext(figures)).metrics.requests == 7
            measuring.cancel()


async def _measure_for_ever(edge: Agent, position: str) -> None:
    while True:
        edge.link.sample(position_pb2.PositionMetrics(name=position, requests=7, window_ms=100).SerializeToString())
        await asyncio.sleep(0.1)


@scenario
async def test_on_postgres_agents_may_not_ask_what_is_for_peers(pair: Pair) -> None:
    certificate = await joined(pair)
    async with open_aio_channel(pair.one.link, tls=certificate.tls) as link:
        with pytest.raises(Denied) as refused:
            await peer_pb2_grpc.PeerServiceStub(link).StatArtifact(
                peer_pb2.StatArtifactRequest(digest="sha256:" + "0" * 64)
            )
    assert refused.value.reason == "NOT_A_PEER"


def test_on_postgres_a_control_plane_with_another_authority_is_refused(pair: Pair, tmp_path: Path) -> None:
    url = pair.one.options[1]
    listen = ("--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0")
    said = start_failing("--data-dir", str(tmp_path / "three"), "--database-url", url, *listen)
    assert "signs with the root" in said
    assert "ca.key" in said


# ---- death -----------------------------------------------------------------------------------------------------------


@dataclass
class States:
    """Every state that an edge server was ever shown in."""

    seen: set[int] = field(default_factory=set)

    async def watch(self, pair: Pair) -> None:
        """On whoever lives; for ever."""
        while True:
            for plane in (pair.one, pair.two):
                with contextlib.suppress(MeshError):
                    async with plane.channel() as channel:
                        stub = watch_pb2_grpc.WatchServiceStub(channel)
                        async for response in stub.Watch(watch_pb2.WatchRequest(names=["edgeServers"])):
                            if response.HasField("edge_server"):
                                self.seen.add(response.edge_server.status.state)
            await asyncio.sleep(0.05)


@scenario
async def test_on_postgres_either_is_killed_in_turns_during_deployments_and_nothing_is_lost(
    pair: Pair, tmp_path: Path
) -> None:
    certificate, states = await joined(pair), States()
    async with connected(pair, certificate) as edge, asyncio.TaskGroup() as tasks:
        async with pair.one.channel() as one:
            application = await make_application(one)
            name = await make_version(one, application, "1", models.affine(tmp_path / "affine.onnx"))
            await until(lambda: version(pair.one, name), is_judged)
        watching, wanted = tasks.create_task(states.watch(pair)), set[str]()
        for number, victim in enumerate((pair.one, pair.two, pair.one, pair.two)):
            survivor = pair.other(victim)
            async with survivor.channel() as channel:
                killing = tasks.create_task(asyncio.to_thread(victim.kill))
                for piece in range(5):
                    position = await deploy(channel, application, name, f"cell-{number}-{piece}")
                    wanted.add(f"cell-{number}-{piece}")
                await killing
                await until(lambda: _items(edge), lambda held: held == wanted)
                assert await logs(survivor, position.name)
            await asyncio.to_thread(victim.start)
        watching.cancel()
    assert states.seen == {edge_server_pb2.EDGE_SERVER_STATE_CONNECTED}
    assert edge.epochs == sorted(set(edge.epochs))


@scenario
async def test_on_postgres_one_that_stops_in_order_sends_its_agents_to_the_other(pair: Pair) -> None:
    certificate = await joined(pair)
    async with agent(pair.one, certificate, EDGE_SERVER) as edge:  # knows one address only
        await until(lambda: shown(pair.one), is_connected)
        await until(lambda: knows_its_peer(pair.one), bool)
        assert await asyncio.to_thread(pair.one.end, signal.SIGTERM) == 0
        await until(lambda: _current(edge), lambda address: address == pair.two.link)
        found = await until(lambda: shown(pair.two), is_connected)
        assert found.status.state == edge_server_pb2.EDGE_SERVER_STATE_CONNECTED
        await asyncio.to_thread(pair.one.start)


async def _current(edge: Agent) -> str:
    return edge.upstreams.current


@scenario
async def test_on_postgres_an_agent_that_dies_with_its_control_plane_is_called_lost_by_the_other(pair: Pair) -> None:
    certificate = await joined(pair)
    async with connected(pair, certificate) as edge:
        victim = home(pair, edge)
    await asyncio.to_thread(victim.kill)
    survivor = pair.other(victim)
    lost = await until(lambda: shown(survivor), lambda server: not is_connected(server), every_s=0.1)
    assert survivor.link in lost.status.hint
    await asyncio.to_thread(victim.start)


@scenario
async def test_on_postgres_a_file_outlives_the_one_that_took_it_in(pair: Pair, tmp_path: Path) -> None:
    certificate = await joined(pair)
    async with pair.one.channel() as one:
        await until(lambda: knows_its_peer(pair.one), bool)
        artifact = await upload(one, models.affine(tmp_path / "affine.onnx"))
    await asyncio.to_thread(pair.one.kill)
    assert await read_artifact(pair.two, certificate, artifact.digest) == (tmp_path / "affine.onnx").read_bytes()
    async with pair.two.channel() as two:
        name = await make_version(two, await make_application(two), "1", tmp_path / "affine.onnx")
        judged = await until(lambda: version(pair.two, name), is_judged)
        assert judged.state == model_pb2.MODEL_VERSION_STATE_AVAILABLE
    await asyncio.to_thread(pair.one.start)


async def knows_its_peer(plane: ControlPlaneProcess) -> bool:
    return any('"event": "peer_found"' in line for line in plane.log)


@scenario
async def test_on_postgres_a_subscription_is_followed_by_one_and_taken_over_by_the_other(
    pair: Pair, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    with platform(lab) as training:
        async with pair.one.channel() as one:
            await subscribe(one, training.address, activation_token(lab))
        await until(lambda: subscription(pair.two), is_followed)
        wanted = {}
        for number, victim in enumerate((pair.one, pair.two, pair.one)):
            survivor = pair.other(victim)
            publish(lab, "path", "tcn", str(number), {"model.onnx": models.affine(tmp_path / "m.onnx", offset=number)})
            await asyncio.to_thread(victim.kill)
            wanted[str(number)] = "AVAILABLE"
            await until(lambda survivor=survivor: versions(survivor), lambda found: found == wanted, every_s=0.1)
            await asyncio.to_thread(victim.start)
        told = await imported(pair.one)
        assert len(told) == len(set(told))
