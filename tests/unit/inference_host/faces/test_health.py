"""What those hear who ask for a host's health."""

import asyncio
from collections.abc import AsyncIterator

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from inference_host.faces.health import Health
from inference_host.transport.methods import Caller, Streaming
from tests.unit.inference_host.callers import begin, behaviour, once
from waypost.errors import MeshError, NotFound

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def watch(health: Health, service: str = "") -> AsyncIterator[bytes]:
    streaming = behaviour(health.methods(), "Watch")
    assert isinstance(streaming, Streaming)
    return streaming.run(once(HealthCheckRequest(service=service)), Caller())


def status(message: bytes) -> int:
    return HealthCheckResponse.FromString(message).status


def test_every_check_asks_anew() -> None:
    async def scenario() -> list[int]:
        serving = [True]
        methods = Health(frozenset({"s"}), lambda: serving[0]).methods()
        heard = [status(begin(methods, "Check", HealthCheckRequest(service=name)).message) for name in ("", "s")]
        serving[0] = False
        return [*heard, status(begin(methods, "Check", HealthCheckRequest()).message)]

    assert asyncio.run(scenario()) == [SERVING, SERVING, NOT_SERVING]


def test_a_service_that_is_not_here_is_not_found() -> None:
    async def scenario() -> MeshError | None:
        methods = Health(frozenset(), lambda: True).methods()
        return begin(methods, "Check", HealthCheckRequest(service="nowhere")).error

    assert isinstance(asyncio.run(scenario()), NotFound)


def test_health_is_asked_without_credentials() -> None:
    async def scenario() -> bool:
        return all(method.open for method in Health(frozenset(), lambda: True).methods())

    assert asyncio.run(scenario())


def test_watchers_hear_of_changes_and_nothing_twice() -> None:
    async def scenario() -> list[int]:
        serving = [False]
        health = Health(frozenset(), lambda: serving[0])
        watching = watch(health)
        heard = [status(await anext(watching))]
        health.poke()
        serving[0] = True
        health.poke()
        return [*heard, status(await anext(watching))]

    assert asyncio.run(scenario()) == [NOT_SERVING, SERVING]


def test_a_watcher_of_an_unknown_service_is_told_so_and_kept() -> None:
    async def scenario() -> list[int]:
        health = Health(frozenset(), lambda: True)
        watching = watch(health, "nowhere")
        heard = [status(await anext(watching))]
        health.poke()
        health.drain()
        return heard + [status(message) async for message in watching]

    assert asyncio.run(scenario()) == [HealthCheckResponse.SERVICE_UNKNOWN]


def test_a_drain_that_begins_while_an_answer_is_on_its_way_is_still_told() -> None:
    async def scenario() -> list[int]:
        health = Health(frozenset(), lambda: True)
        watching = watch(health)
        heard = [status(await anext(watching))]
        health.drain()
        return heard + [status(message) async for message in watching]

    assert asyncio.run(scenario()) == [SERVING, NOT_SERVING]
