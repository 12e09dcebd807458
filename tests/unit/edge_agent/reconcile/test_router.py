"""Routes travel as one table, are acknowledged one by one, and a bad one holds back nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge_agent.gateways.fake import FakeGateway
from edge_agent.gateways.routes import Backend, PositionRoute
from edge_agent.reconcile.router import Router
from tests.sim.virtual import run
from waypost.errors import Unavailable


def route(uid: str, generation: int = 1, weight: int = 100) -> PositionRoute:
    host = Backend(f"r-{uid}", f"unix:/run/{uid}.grpc", f"unix:/run/{uid}.http", "sha256:1/", weight)
    return PositionRoute(uid, f"projects/p/applications/a/positions/{uid}", generation, (host,))


@asynccontextmanager
async def running(router: Router) -> AsyncIterator[list[str]]:
    """What it says has changed."""
    woken: list[str] = []
    router.on_change(woken.append)
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(router.run())
        yield woken
        life.cancel()


def test_a_route_is_acknowledged_when_it_is_live() -> None:
    async def scenario() -> None:
        gateway = FakeGateway(ack_delay_s=1.0)
        router = Router(gateway)
        async with running(router) as woken:
            router.put(route("a"))
            await asyncio.sleep(0.5)
            assert not router.acknowledged("a")
            await asyncio.sleep(3)
            assert router.acknowledged("a")
            assert router.live("a") == route("a")
            assert "a" in woken
            router.drop("a")
            assert not router.acknowledged("a")
            await asyncio.sleep(3)
            assert router.acknowledged("a")
            assert router.live("a") is None

    run(scenario())


def test_what_is_put_while_a_table_is_on_its_way_travels_with_the_next() -> None:
    async def scenario() -> None:
        gateway = FakeGateway(ack_delay_s=1.0)
        router = Router(gateway)
        async with running(router):
            await asyncio.sleep(2)
            for generation in range(1, 20):
                router.put(route("a", generation))
                await asyncio.sleep(0.01)
            await asyncio.sleep(5)
            assert router.live("a") == route("a", 19)
            assert len(gateway.applied) == 3

    run(scenario())


def test_what_was_wrong_with_all_routes_is_forgotten_with_the_first_table_that_is_taken() -> None:
    """Found by tests/sim: a position that had not changed meanwhile showed the old error for ever."""

    async def scenario() -> None:
        gateway = FakeGateway()
        gateway.refuse = Unavailable("GATEWAY_SILENT", "it does not say what is live")
        router = Router(gateway)
        router.adopt(route("a"))
        async with running(router):
            await asyncio.sleep(0.5)
            assert router.error("a") is not None
            gateway.refuse = None
            router.put(route("b"))
            await asyncio.sleep(1)
            assert router.acknowledged("a")
            assert router.error("a") is None

    run(scenario())


def test_the_routes_of_the_agent_before_change_nothing() -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        first = Router(gateway)
        async with running(first):
            first.put(route("a"))
            await asyncio.sleep(1)
        tables = len(gateway.applied)
        second = Router(gateway)
        second.adopt(route("a"))
        assert second.live("a") == route("a")
        assert not second.acknowledged("a")
        async with running(second):
            await asyncio.sleep(1)
            assert second.acknowledged("a")
            assert len(gateway.applied) == tables

    run(scenario())


def test_a_route_that_is_refused_holds_back_no_other() -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        router = Router(gateway)
        async with running(router):
            router.put(route("a"))
            await asyncio.sleep(1)
            router.put(route("a", 2))
            router.put(route("b", weight=-5))
            router.put(route("c"))
            await asyncio.sleep(1)
            assert router.acknowledged("a")
            assert router.acknowledged("c")
            assert not router.acknowledged("b")
            refusal = router.error("b")
            assert refusal is not None
            assert refusal.reason == "BAD_ROUTES"
            assert router.error("a") is None
            router.put(route("b"))
            await asyncio.sleep(1)
            assert router.acknowledged("b")
            assert router.error("b") is None

    run(scenario())


def test_a_gateway_that_fails_is_asked_again() -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        router = Router(gateway)
        async with running(router):
            gateway.refuse = Unavailable("GATEWAY_FAILED", "it ended")
            router.put(route("a"))
            await asyncio.sleep(20)
            error = router.error("a")
            assert error is not None
            assert error.reason == "GATEWAY_FAILED"
            gateway.refuse = None
            await asyncio.sleep(5)
            assert router.acknowledged("a")
            assert router.error("a") is None

    run(scenario())


def test_a_gateway_that_lost_its_routes_gets_them_again_within_a_second() -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        router = Router(gateway)
        async with running(router):
            router.put(route("a"))
            await asyncio.sleep(5)
            gateway.die()
            await asyncio.sleep(1.1)
            assert gateway.table is not None
            assert gateway.table.by_uid.keys() == {"a"}
            assert router.restarts == 1
            assert router.acknowledged("a")

    run(scenario())
