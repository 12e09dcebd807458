"""What a watcher of a host's health hears."""

import asyncio

from grpc_health.v1 import health_pb2

from inference_host.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_drain_that_begins_while_an_answer_is_on_its_way_is_still_told() -> None:
    async def scenario() -> list[int]:
        health = Health(frozenset(), lambda: True)
        watch = health.Watch(health_pb2.HealthCheckRequest(), None)
        heard = [(await anext(watch)).status]
        health.drain()
        return heard + [response.status async for response in watch]

    assert asyncio.run(scenario()) == [SERVING, NOT_SERVING]
