"""What every gateway promises (edge_agent/gateways/base.py), as scenarios over a bench.

TABLES are about taking tables and hold for every gateway, CALLS need one that carries calls. A bench makes a gateway
(again) and kills it; hosts are those of gateway_backends.py.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.rpc import status_pb2

from edge_agent.gateways.base import Gateway
from edge_agent.gateways.routes import Backend, PositionRoute, RouteTable
from tests.contract.gateway_backends import INFER, REFUSAL, STREAM, Answer, Caller, Host, HostProcess
from tests.ports import free_port
from tests.waiting import until
from waypost.errors import MeshError, Precondition, Unavailable
from waypost.rpc.status import from_status

UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001"
NAME = "projects/uav/applications/path/positions/tower-7"
OTHER_UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002"
OTHER_NAME = "projects/uav/applications/path/positions/tower-8"
WITHIN_S = 10.0
BODY_BYTES_MAX = 64 << 20


class Bench(Protocol):
    directory: Path
    """For the sockets of hosts; short."""
    domain: str

    def gateway(self) -> Gateway:
        """A new object for the same gateway; the one before is not used any more."""

    def kill(self) -> None:
        """kill -9 of the gateway."""


# -- what the scenarios are made of


def backend(host: Host | HostProcess, weight: int = 100, shape: str = "v1") -> Backend:
    return Backend(host.id, f"unix:{host.grpc_path}", f"unix:{host.http_path}", shape, weight)


def route(*hosts: Backend, uid: str = UID, name: str = NAME, monitor: Host | None = None) -> PositionRoute:
    return PositionRoute(uid, name, 1, hosts, access_address=f"unix:{monitor.grpc_path}" if monitor else None)


def table(*routes: PositionRoute) -> RouteTable:
    return RouteTable(routes)


@dataclass
class Stage:
    """A gateway that runs, hosts that answer, somebody who calls."""

    gateway: Gateway
    hosts: dict[str, Host]
    caller: Caller

    def backend(self, id_: str, weight: int = 100, shape: str = "v1") -> Backend:
        return backend(self.hosts[id_], weight, shape)

    async def apply(self, *routes: PositionRoute) -> None:
        await self.gateway.apply(table(*routes))


@asynccontextmanager
async def stage(bench: Bench, *ids: str) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        hosts = {}
        for id_ in ids:
            hosts[id_] = await Host(id_, bench.directory).start()
            stack.push_async_callback(hosts[id_].stop)
        gateway = bench.gateway()
        await gateway.start()
        yield Stage(gateway, hosts, await stack.enter_async_context(Caller(gateway.address)))


async def refused(call: Awaitable[object]) -> MeshError:
    try:
        await call
    except MeshError as error:
        return error
    raise AssertionError("nothing was refused")


@asynccontextmanager
async def traffic(caller: Caller, position: str = UID, wait_s: float = 0.004) -> AsyncIterator[Counter[str]]:
    """Calls without a break, over gRPC and HTTP; counts what they come to."""
    seen: Counter[str] = Counter()
    over = asyncio.Event()

    async def call_on(one: Callable[[], Awaitable[Answer]], what: str) -> None:
        while not over.is_set():
            answer = await one()
            seen[f"{what} {answer.code} {'' if answer.code in ('OK', 200) else answer.body}".strip()] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(call_on(lambda: caller.grpc({"wait_s": wait_s}, position=position), "grpc"))
            group.create_task(call_on(lambda: caller.http(wish={"wait_s": wait_s}, position=position), "http"))
        group.create_task(call_on(lambda: caller.grpc({"wait_s": 0.5}, position=position), "long grpc"))
        group.create_task(call_on(lambda: caller.http(wish={"wait_s": 0.5}, position=position), "long http"))
        yield seen
        over.set()


async def answered(seen: Counter[str], more: int, what: str = "grpc OK") -> None:
    """Until `traffic` has seen more than so many answers of a kind, from now on."""
    floor = seen[what] + more
    await until(lambda: seen[what], lambda count: count > floor, more=lambda: str(seen))


NOTHING_LOST = {"grpc OK", "http 200", "long grpc OK", "long http 200"}


# -- tables


async def a_table_is_live_when_apply_returns(bench: Bench) -> None:
    gateway = bench.gateway()
    await gateway.start()
    assert await gateway.current() is None
    first, second = table(), table(route())
    assert (await gateway.apply(first)).changed
    assert await gateway.current() == first.hash
    assert (await gateway.apply(second)).hash == second.hash == await gateway.current()


async def applying_what_is_live_does_nothing(bench: Bench) -> None:
    gateway = bench.gateway()
    other = route(uid=OTHER_UID, name=OTHER_NAME)
    assert (await gateway.apply(table(route(), other))).changed
    assert not (await gateway.apply(table(route(), other))).changed
    assert not (await gateway.apply(table(other, route()))).changed


async def an_unsound_table_is_refused_and_changes_nothing(bench: Bench) -> None:
    gateway = bench.gateway()
    await gateway.apply(table(route()))
    error = await refused(gateway.apply(table(route(), route())))
    assert isinstance(error, Precondition)
    assert error.reason == "BAD_ROUTES"
    assert UID in error.message
    assert await gateway.current() == table(route()).hash


async def starting_again_changes_nothing(bench: Bench) -> None:
    gateway = bench.gateway()
    await gateway.start()
    await gateway.apply(table(route()))
    await gateway.start()
    assert await gateway.current() == table(route()).hash


async def nothing_is_live_after_stop(bench: Bench) -> None:
    gateway = bench.gateway()
    await gateway.apply(table(route()))
    assert await gateway.stop(grace_s=1)
    assert await gateway.current() is None
    assert not await gateway.stop(grace_s=1)
    assert (await gateway.apply(table(route()))).changed


async def nothing_is_live_after_its_death_and_the_next_table_brings_it_back(bench: Bench) -> None:
    gateway = bench.gateway()
    await gateway.apply(table(route()))
    bench.kill()
    assert await gateway.current() is None
    assert (await gateway.apply(table(route()))).changed
    assert await gateway.current() == table(route()).hash


TABLES = (
    a_table_is_live_when_apply_returns,
    applying_what_is_live_does_nothing,
    an_unsound_table_is_refused_and_changes_nothing,
    starting_again_changes_nothing,
    nothing_is_live_after_stop,
    nothing_is_live_after_its_death_and_the_next_table_brings_it_back,
)


# -- calls: who is addressed


async def every_address_leads_to_the_position(bench: Bench) -> None:
    async with stage(bench, "a", "b", "m") as on:
        port = free_port()
        mine = replace(route(on.backend("a"), monitor=on.hosts["m"]), dedicated_port=port)
        await on.apply(mine, route(on.backend("b"), uid=OTHER_UID, name=OTHER_NAME, monitor=on.hosts["m"]))
        host = on.caller.target.rpartition(":")[0]
        for key in (UID, NAME, "uav/path/tower-7"):
            await _answers_everywhere(on.caller, "a", position=key)
        for key in (OTHER_UID, OTHER_NAME, "uav/path/tower-8"):
            await _answers_everywhere(on.caller, "b", position=key)
        for authority in (f"{UID}.{bench.domain}", f"{UID}.{bench.domain}:7680"):
            async with Caller(on.gateway.address, authority) as caller:
                await _answers_everywhere(caller, "a")
        async with Caller(f"http://{host}:{port}") as caller:
            await _answers_everywhere(caller, "a")
        await _answers_everywhere(on.caller, "a", prefix=f"/positions/{UID}")


async def _answers_everywhere(caller: Caller, host: str, *, position: str = "", prefix: str = "") -> None:
    """gRPC, OIP over HTTP, and JSON for hosts and monitor; behind a prefix that the host never sees."""
    native = await caller.grpc(position=position, method=prefix + INFER)
    assert (native.code, native.host) == ("OK", host), native
    plain = await caller.http(f"{prefix}/v2/models/m/infer?x=1", {}, position=position)
    assert (plain.code, plain.host, plain.body["path"]) == (200, host, "/v2/models/m/infer?x=1"), plain
    facade = await caller.http(f"{prefix}/v1/infer", {"id": "7"}, position=position)
    assert (facade.code, facade.body["id"], facade.body["model_version"]) == (200, "7", host), facade
    access = await caller.http(f"{prefix}/v1/endpoints", method="GET", position=position)
    assert (access.code, access.body["endpoints"]["model"]) == (200, "m"), access


async def a_prefix_ends_at_a_slash_and_holds_the_uid_only(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        assert (await on.caller.http(f"/positions/{UID}/v2", method="GET")).body["path"] == "/v2"
        for wrong in (f"/positions/{UID}x/v2", f"/positions/{UID[:-1]}/v2", "/positions/tower-7/v2", f"/{UID}/v2"):
            answer = await on.caller.http(wrong, method="GET")
            assert answer.code == 404, wrong
            assert answer.body.keys() == {"error"}


async def a_call_that_addresses_nobody_is_told_how_to(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        for position in ("", "uav/path/tower-9"):
            native = await on.caller.grpc(position=position)
            assert native.code == "NOT_FOUND"
            assert "waypost-position" in native.body
            for path in ("/v2/models/m/infer", "/v1/infer"):
                plain = await on.caller.http(path, {}, position=position)
                assert plain.code == 404
                assert plain.headers["content-type"] == "application/json"
                assert "waypost-position" in plain.body["error"]


async def health_reflection_and_unknown_paths_are_not_served(bench: Bench) -> None:
    async with stage(bench, "a", "m") as on:
        await on.apply(route(on.backend("a"), monitor=on.hosts["m"]))
        for method in (
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/waypost.api.link.v1.HostLinkService/ConnectHost",
        ):
            assert (await on.caller.grpc(position=UID, method=method)).code == "UNIMPLEMENTED"
        for path in ("/", "/v2x", "/v3", "/v1/nothing", INFER):
            answer = await on.caller.http(path, {}, position=UID)
            assert (answer.code, answer.body.keys()) == (404, {"error"}), path
        assert on.hosts["a"].calls["grpc"] == 0


async def a_position_that_leaves_is_not_found(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        mine, other = route(on.backend("a")), route(on.backend("a"), uid=OTHER_UID, name=OTHER_NAME)
        await on.apply(mine, other)
        await on.apply(other)
        assert (await on.caller.grpc(position=UID)).code == "NOT_FOUND"
        assert (await on.caller.grpc(position=OTHER_UID)).code == "OK"


# -- calls: what reaches the host


async def headers_of_callers_reach_the_host_and_command_no_gateway(bench: Bench) -> None:
    orders = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "9", "authorization": "Bearer t"}
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        native = await on.caller.grpc({"wait_s": 0.05}, position=UID, metadata=tuple(orders.items()))
        plain = await on.caller.http(wish={"wait_s": 0.05}, position=UID, headers=orders)
        for answer in (native, plain):
            assert answer.code in ("OK", 200)
            assert answer.body["headers"]["authorization"] == "Bearer t"
            assert not orders.keys() & answer.body["headers"].keys() - {"authorization"}


async def errors_of_hosts_arrive_whole(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        native = await on.caller.grpc({"refuse": True}, position=UID)
        error = from_status(status_pb2.Status.FromString(native.details))
        assert (type(error), error.reason, error.hint) == (Precondition, REFUSAL.reason, REFUSAL.hint)
        facade = await on.caller.http("/v1/infer", {"id": "refuse"}, position=UID)
        assert (facade.code, facade.body["code"], facade.body["message"]) == (400, 9, REFUSAL.message)
        assert REFUSAL.reason in json.dumps(facade.body["details"])


async def streams_pass_as_they_come(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        call: Any = on.caller.channel.stream_stream(STREAM)(metadata=(("waypost-position", UID),))
        for number in range(3):
            await call.write(b"%d" % number)
            assert await asyncio.wait_for(call.read(), WITHIN_S) == b"a:%d" % number
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def a_body_at_the_limit_passes_and_a_larger_one_is_refused(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        fits, too_much = bytes(BODY_BYTES_MAX - 5), bytes(BODY_BYTES_MAX + 1)  # five bytes frame a gRPC message
        assert (await on.caller.grpc(fits, position=UID)).body["bytes"] == len(fits)
        assert (await on.caller.http(wish=fits, position=UID)).body["bytes"] == len(fits)
        assert (await on.caller.grpc(too_much, position=UID)).code == "RESOURCE_EXHAUSTED"
        chunks = iter([too_much[: 1 << 20]] * 65)
        assert (await on.caller.http(wish=chunks, position=UID)).code == 413
        assert on.hosts["a"].calls.total() - on.hosts["a"].calls["check"] == 2


async def deadlines_of_callers_are_kept(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        native = await on.caller.grpc({"wait_s": 5}, position=UID, timeout=0.1)
        assert native.code == "DEADLINE_EXCEEDED"
        # The host need not work on for a caller that is gone.
        await until(lambda: on.hosts["a"].under_way, lambda count: count == 0)
        for path in ("/v2/models/m/infer", f"/positions/{UID}/v2/models/m/infer", "/v1/infer"):
            wish = {"id": "wait"} if path == "/v1/infer" else {"wait_s": 1}
            plain = await on.caller.http(path, wish, position=UID, headers={"waypost-timeout-ms": "100"})
            assert (plain.code, plain.body.keys()) == (504, {"error"}), plain


# -- calls: who gets them


async def weights_are_kept(bench: Bench) -> None:
    async with stage(bench, "a", "b", "c", "d") as on:
        await on.apply(
            route(
                on.backend("a", 90),
                on.backend("b", 90),
                on.backend("c", 10, "v2"),
                on.backend("d", 0, "v3"),
            )
        )
        for call in (on.caller.grpc, on.caller.http):
            got = Counter([(await call(position=UID)).host for _ in range(200)])
            assert got["c"] in range(18, 23), got
            assert abs(got["a"] - got["b"]) <= 4, got
            assert got["d"] == 0, got


async def a_position_without_hosts_is_unavailable_and_its_monitor_serves(bench: Bench) -> None:
    async with stage(bench, "m") as on:
        await on.apply(route(monitor=on.hosts["m"]))
        assert (await on.caller.grpc(position=UID)).code == "UNAVAILABLE"
        for path in ("/v2", "/v1/infer"):
            plain = await on.caller.http(path, {}, position=UID)
            assert (plain.code, plain.body.keys()) == (503, {"error"})
        answer = await on.caller.http("/v1/register", {"client": "x"}, position=UID)
        assert (answer.code, answer.body["model"]) == (200, "x")


async def a_route_is_live_with_the_first_call(bench: Bench) -> None:
    """Also a dedicated port. Twenty times, as a race would not lose each time."""
    async with stage(bench, "a", "b") as on:
        for number in range(20):
            port = free_port()
            await on.apply(replace(route(on.backend("ab"[number % 2])), dedicated_port=port))
            async with Caller(f"http://127.0.0.1:{port}") as caller:
                assert (await caller.http(wish={})).host == "ab"[number % 2]
            assert (await on.caller.grpc(position=UID)).host == "ab"[number % 2]


async def calls_in_flight_end_where_they_began(bench: Bench) -> None:
    """Also when their host, their position or their port has left the table meanwhile."""
    async with stage(bench, "a", "b") as on:
        port = free_port()
        leaving = route(on.backend("a"), uid=OTHER_UID, name=OTHER_NAME)
        await on.apply(route(on.backend("a")), replace(leaving, dedicated_port=port))
        async with Caller(f"http://127.0.0.1:{port}") as dedicated, asyncio.TaskGroup() as group:
            calls = [
                group.create_task(one)
                for position in (UID, OTHER_UID)
                for one in (
                    on.caller.grpc({"wait_s": 1}, position=position),
                    on.caller.http(wish={"wait_s": 1}, position=position),
                )
            ]
            calls.append(group.create_task(dedicated.grpc({"wait_s": 1})))
            await until(lambda: on.hosts["a"].under_way, lambda count: count == len(calls))
            await on.apply(route(on.backend("b")))
            assert (await on.caller.grpc(position=UID)).host == "b"
            assert on.hosts["a"].under_way == len(calls)
        assert [call.result().host for call in calls] == ["a"] * len(calls)


async def swapping_hosts_under_load_loses_nothing(bench: Bench) -> None:
    """Not even for calls that may not be tried again."""
    async with stage(bench, "a", "b", "c") as on:
        await on.apply(route(on.backend("a")))
        async with traffic(on.caller) as seen:
            for _ in range(4):
                await on.apply(route(on.backend("b", 100, "v2")))
                await on.apply(route(on.backend("b", 50, "v2"), on.backend("c", 50, "v3")))
                await on.apply(route(on.backend("c", 100, "v3")))
                await on.apply(route(on.backend("a"), on.backend("b")))
                await answered(seen, 40)
        assert seen.keys() == NOTHING_LOST, seen
        assert seen.total() > 300
        assert all(host.calls.total() for host in on.hosts.values())


async def positions_come_and_go_beside_one_that_serves(bench: Bench) -> None:
    async with stage(bench, "a", "b") as on:
        mine = route(on.backend("a"))
        await on.apply(mine)
        async with traffic(on.caller) as seen:
            for number in range(10, 22):
                other = route(on.backend("b"), uid=f"{OTHER_UID[:-2]}{number}", name=f"{OTHER_NAME}-{number}")
                await on.apply(mine, replace(other, dedicated_port=free_port()))
                assert (await on.caller.grpc(position=other.uid)).host == "b"
                await on.apply(mine)
        assert seen.keys() == NOTHING_LOST, seen


async def a_host_that_does_not_answer_never_takes_over(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        absent = Host("absent", bench.directory)
        error = await refused(on.gateway.apply(table(route(backend(absent, 100, "v2")))))
        assert isinstance(error, Unavailable)
        assert error.reason == "HOSTS_UNREACHABLE"
        assert str(absent.grpc_path) in error.message
        assert await on.gateway.current() is None
        assert (await on.caller.grpc(position=UID)).host == "a"
        await on.apply(route(on.backend("a")))


# -- calls: what dies


async def a_dead_host_in_a_new_route_holds_up_nobody(bench: Bench) -> None:
    """There is nobody whom it would take calls from: others answer, and of its own calls it is said that it is gone."""
    async with stage(bench, "a") as on:
        absent = backend(Host("absent", bench.directory))
        alone = route(absent, uid=OTHER_UID, name=OTHER_NAME)
        await on.apply(route(on.backend("a"), absent), alone)
        assert {(await on.caller.grpc(position=UID)).host for _ in range(20)} == {"a"}
        assert (await on.caller.grpc(position=OTHER_UID)).code == "UNAVAILABLE"


async def calls_of_a_killed_host_are_tried_elsewhere_where_that_is_harmless(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        doomed = await HostProcess("doomed", bench.directory).ready()
        both = route(on.backend("a"), backend(doomed))
        try:
            await on.apply(replace(both, idempotent=True))
            large = {"wait_s": 0.5, "padding": "." * (8 << 20)}
            async with traffic(on.caller, wait_s=0.02) as seen, asyncio.TaskGroup() as group:
                await answered(seen, 40)
                calls = [group.create_task(on.caller.http(wish=large, position=UID)) for _ in range(4)]
                await asyncio.sleep(0.2)  # now half of them wait in another process, which cannot tell us so
                doomed.kill()
                await answered(seen, 100)
            assert seen.keys() == NOTHING_LOST, seen
            assert [call.result().host for call in calls] == ["a"] * len(calls)
        finally:
            doomed.kill()


async def a_call_that_may_have_run_is_not_tried_again_and_not_called_unavailable(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        doomed = await HostProcess("doomed", bench.directory).ready()
        try:
            await on.apply(route(backend(doomed)))
            async with asyncio.TaskGroup() as group:
                native = group.create_task(on.caller.grpc({"wait_s": 30}, position=UID))
                plain = group.create_task(on.caller.http(wish={"wait_s": 30}, position=UID))
                await asyncio.sleep(0.2)  # they cannot tell us that they arrived: they are in another process
                doomed.kill()
        finally:
            doomed.kill()
        assert (native.result().code, plain.result().code) == ("INTERNAL", 502)
        assert plain.result().body.keys() == {"error"}
        assert (await on.caller.grpc(position=UID)).code == "UNAVAILABLE"
        assert (await on.caller.http(wish={}, position=UID)).code == 503


async def the_next_gateway_object_finds_what_runs(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        async with traffic(on.caller) as seen:
            again = bench.gateway()
            assert await again.current() is None
            await again.start()
            await again.apply(table(route(on.backend("a"))))
            assert await again.current() == table(route(on.backend("a"))).hash
            await answered(seen, 20)
        assert seen.keys() == NOTHING_LOST, seen


async def a_killed_gateway_is_back_with_the_next_table(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        mine = route(on.backend("a"))
        await on.apply(mine)
        bench.kill()
        assert (await on.caller.grpc(position=UID)).code == "UNAVAILABLE"
        await on.apply(mine)
        async with Caller(on.gateway.address) as caller:
            assert (await caller.grpc(position=UID)).host == "a"


async def stopping_lets_calls_in_flight_end(bench: Bench) -> None:
    async with stage(bench, "a") as on:
        await on.apply(route(on.backend("a")))
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(on.caller.grpc({"wait_s": 0.5}, position=UID)),
                group.create_task(on.caller.http(wish={"wait_s": 0.5}, position=UID)),
            ]
            await until(lambda: on.hosts["a"].under_way, lambda count: count == len(calls))
            await on.gateway.stop(grace_s=WITHIN_S)
        assert [call.result().host for call in calls] == ["a", "a"]
        async with Caller(on.gateway.address) as caller:
            assert (await caller.grpc(position=UID)).code == "UNAVAILABLE"


CALLS = (
    every_address_leads_to_the_position,
    a_prefix_ends_at_a_slash_and_holds_the_uid_only,
    a_call_that_addresses_nobody_is_told_how_to,
    health_reflection_and_unknown_paths_are_not_served,
    a_position_that_leaves_is_not_found,
    headers_of_callers_reach_the_host_and_command_no_gateway,
    errors_of_hosts_arrive_whole,
    streams_pass_as_they_come,
    a_body_at_the_limit_passes_and_a_larger_one_is_refused,
    deadlines_of_callers_are_kept,
    weights_are_kept,
    a_position_without_hosts_is_unavailable_and_its_monitor_serves,
    a_route_is_live_with_the_first_call,
    calls_in_flight_end_where_they_began,
    swapping_hosts_under_load_loses_nothing,
    positions_come_and_go_beside_one_that_serves,
    a_host_that_does_not_answer_never_takes_over,
    a_dead_host_in_a_new_route_holds_up_nobody,
    calls_of_a_killed_host_are_tried_elsewhere_where_that_is_harmless,
    a_call_that_may_have_run_is_not_tried_again_and_not_called_unavailable,
    the_next_gateway_object_finds_what_runs,
    a_killed_gateway_is_back_with_the_next_table,
    stopping_lets_calls_in_flight_end,
)
