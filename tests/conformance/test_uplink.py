"""Link 3 with a real host: what it tells its monitor, and what it does with what it hears."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mesh import clock, tokens
from mesh.link import LOCAL, DesiredState, Item, ParentSession, Refusal
from mesh.link_grpc import ServerWire
from mesh.serve import grpc_server
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.waiting import until
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics, HostOrders, HostReport, HostState
from waypost.api.link.v1.host_link_pb2_grpc import HostLinkServiceServicer, add_HostLinkServiceServicer_to_server
from waypost.errors import Invalid, MeshError, Unauthenticated
from waypost.rpc import open_aio_channel

UID = "uid-1"
REPLICA = "r-abc123"


class Monitor(HostLinkServiceServicer):
    """A position's monitor as far as a host can tell: serves link 3, remembers what it hears."""

    def __init__(self, jwks: str) -> None:
        self.generation = 1
        self.position_uid = UID
        self.jwks = jwks
        self.states: list[str] = []
        self.reasons: list[str] = []
        self.requests = self.errors = 0
        self.own: dict[str, float] = {}
        """Counters of the template's own."""
        self.refused: list[str] = []
        self.session: ParentSession | None = None

    async def ConnectHost(self, request_iterator: object, context: object) -> None:  # noqa: N802  gRPC's name
        self.session = ParentSession(self, timing=LOCAL)
        await self.session.serve(ServerWire(context))

    async def until(self, true: Callable[[], bool]) -> None:
        """Waits for what the host sends; tells what it sent where that does not come."""

        def told() -> str:
            return f"{self.states} {self.reasons} {self.requests} calls, {self.errors} errors {self.own} {self.refused}"

        await until(true, more=told)

    # -- mesh.link.ParentHandler

    async def admit(self, hello: pb.Hello) -> int:
        assert hello.identity == REPLICA
        return hello.epoch + 1

    async def desired(self) -> DesiredState:
        orders = HostOrders(position_uid=self.position_uid, generation=self.generation, jwks=self.jwks)
        return DesiredState.of("store", self.generation, [Item(REPLICA, self.generation, orders.SerializeToString())])

    async def may_prune(self, held: pb.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        self.refused += [refusal.error.message for refusal in refusals]

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None:
        report = HostReport.FromString(items[REPLICA].body)
        self.states.append(HostState.Name(report.state).removeprefix("HOST_STATE_"))
        self.reasons.append(report.reason)

    async def metrics(self, samples: Sequence[bytes]) -> None:
        for sample in map(HostMetrics.FromString, samples):
            self.requests += sample.requests
            self.errors += sample.errors
            for metric in sample.model_metrics:
                self.own[metric.name] = self.own.get(metric.name, 0.0) + metric.counter
            assert sum(sample.latency.counts) == sample.requests

    async def events(self, events: Sequence[pb.ChildEvent]) -> None: ...

    async def link_changed(self, connected: bool) -> None:
        if connected and self.session is not None:
            self.session.set_interest([REPLICA], 0.2)


def with_monitor(
    tmp_path: Path,
    key: bytes,
    scenario: Callable[[Monitor, RunningHost], Awaitable[None]],
    make: Callable[[Path], Path] = models.affine,
    *,
    processes: int = 1,
) -> None:
    """A host and its monitor, on sockets of one directory."""
    model = make(tmp_path / "affine.onnx")
    (tmp_path / "jwks.json").write_text(tokens.jwks(key))

    async def main() -> None:
        monitor, server = Monitor(tokens.jwks(key)), grpc_server()
        add_HostLinkServiceServicer_to_server(monitor, server)
        server.add_insecure_port(f"unix:{tmp_path}/m.sock")
        await server.start()
        settings = {"monitor": f"unix:{tmp_path}/m.sock", "jwks": str(tmp_path / "jwks.json"), "model": str(model)}
        place = {"replica": REPLICA, "position": "p", "position_uid": UID, "processes": processes}
        try:
            with hosts.at_position(tmp_path, **place, **settings) as host:
                await scenario(monitor, host)
        finally:
            await server.stop(None)

    asyncio.run(main())


async def infer(host: RunningHost, key: bytes, *, columns: int = 4) -> str:
    """Generation that the reply names."""
    token = tokens.mint(key, audience=UID, subject="agent", client="test", now=clock.now(), lifetime_s=60)
    request = oip.ModelInferRequest(model_name="affine", raw_input_contents=[np.ones(columns, np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    async with open_aio_channel(host.address, token=token) as channel:
        method = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            oip.ModelInferRequest.SerializeToString,
            oip.ModelInferResponse.FromString,
        )
        _, call = await method.with_call(request, timeout=10)
        return str(dict(await call.trailing_metadata())["waypost-position-generation"])


def test_a_host_tells_its_state_and_counts_and_takes_its_orders(tmp_path: Path) -> None:
    old, new = tokens.new_signing_key(), tokens.new_signing_key()

    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "READY" in monitor.states)
        for _ in range(3):
            assert await infer(host, old) == "1"
        with pytest.raises(MeshError):
            await infer(host, old, columns=5)
        await monitor.until(lambda: monitor.requests == 4)
        assert monitor.errors == 0  # the last one was the caller's mistake

        monitor.generation, monitor.jwks = 2, tokens.jwks(new)
        assert monitor.session is not None
        monitor.session.poke()
        assert await until(lambda: infer(host, new), not_yet=Unauthenticated) == "2"  # the orders are on their way
        with pytest.raises(Unauthenticated):
            await infer(host, old)

        host.process.terminate()
        await monitor.until(lambda: monitor.states[-1] == "DRAINING")
        assert await asyncio.to_thread(host.process.wait, hosts.END_S) == 0

    with_monitor(tmp_path, old, scenario)


def test_a_sequence_is_its_callers_and_what_the_template_counts_arrives(tmp_path: Path) -> None:
    key = tokens.new_signing_key()

    async def step(host: RunningHost, client: str, **flags: bool) -> int:
        """Adds 1 to the client's sequence 7, with a token of his own each time."""
        token = tokens.mint(key, audience=UID, subject="credentials/1", client=client, now=clock.now(), lifetime_s=60)
        request = oip.ModelInferRequest(model_name="totals", raw_input_contents=[np.ones(1, np.int32).tobytes()])
        request.inputs.add(name="x", datatype="INT32", shape=[1])
        request.parameters["sequence_id"].int64_param = 7
        for name, flag in flags.items():
            request.parameters[f"sequence_{name}"].bool_param = flag
        async with open_aio_channel(host.address, token=token) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                oip.ModelInferRequest.SerializeToString,
                oip.ModelInferResponse.FromString,
            )
            answer = await infer(request, timeout=10)
        return int(np.frombuffer(answer.raw_output_contents[0], np.int32)[0])

    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "READY" in monitor.states)
        assert [await step(host, "ann", start=True), await step(host, "ann")] == [1, 2]
        with pytest.raises(Invalid) as unknown:
            await step(host, "bob")
        assert unknown.value.reason == "UNKNOWN_SEQUENCE"
        assert [await step(host, "bob", start=True), await step(host, "ann", end=True)] == [1, 3]
        await monitor.until(lambda: monitor.own.get("steps_total") == 4)

    with_monitor(tmp_path, key, scenario, models.totals)


@pytest.mark.parametrize(("field", "value"), [("position_uid", "uid-2"), ("jwks", "{")])
def test_orders_that_cannot_be_right_are_refused_and_the_last_good_ones_stay(
    tmp_path: Path, field: str, value: str
) -> None:
    key = tokens.new_signing_key()

    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "READY" in monitor.states)
        monitor.generation = 2
        setattr(monitor, field, value)
        assert monitor.session is not None
        monitor.session.poke()
        await monitor.until(lambda: bool(monitor.refused))
        assert await infer(host, key) == "1"

    with_monitor(tmp_path, key, scenario)


def test_a_monitor_that_comes_back_is_found_again(tmp_path: Path) -> None:
    key = tokens.new_signing_key()

    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "READY" in monitor.states)
        assert monitor.session is not None
        monitor.session.end("RESTARTING")
        monitor.states.clear()
        await monitor.until(lambda: "READY" in monitor.states)  # told anew, with the first message of the session
        assert await infer(host, key) == "1"

    with_monitor(tmp_path, key, scenario)


def test_a_host_that_cannot_load_tells_why_before_it_ends(tmp_path: Path) -> None:
    async def scenario(monitor: Monitor, host: RunningHost) -> None:
        await monitor.until(lambda: "FAILED" in monitor.states)
        assert monitor.reasons[-1] == "CORRUPT_MODEL"
        assert await asyncio.to_thread(host.process.wait, hosts.END_S) == 3

    with_monitor(tmp_path, tokens.new_signing_key(), scenario, models.corrupt)
