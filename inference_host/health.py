"""grpc.health.v1 as the agent, Envoy and Kubernetes ask it.

Our own servicer and not grpcio-health-checking's: its watchers hold a stopping server up until the grace is over. Here
they hear NOT_SERVING and end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from waypost.errors import NotFound

SERVICE = "grpc.health.v1.Health"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health_pb2_grpc.HealthServicer):
    """One answer for the server as a whole (the empty name) and for each of its services."""

    def __init__(self, services: frozenset[str], serving: Callable[[], bool]) -> None:
        """serving: asked with every check."""
        self._services = services | {""}
        self._serving = serving
        self._changed = asyncio.Event()
        self._draining = False

    def add_to(self, server: Any) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def poke(self) -> None:
        """What `serving` says may have changed: watchers look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Watchers hear the last state and end."""
        self._draining = True
        self.poke()

    async def Check(  # noqa: N802  gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            raise NotFound("UNKNOWN_SERVICE", f"no service {request.service!r} here", "leave the name empty")
        return self._response()

    async def Watch(  # noqa: N802  gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if request.service not in self._services:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            return
        told: int | None = None
        while True:
            # All read before the answer leaves: a drain that begins while it is on its way must still be told.
            changed, response, last = self._changed, self._response(), self._draining
            if response.status != told:
                told = response.status
                yield response
            if last:
                return
            await changed.wait()

    def _response(self) -> health_pb2.HealthCheckResponse:
        serving = self._serving() and not self._draining
        return health_pb2.HealthCheckResponse(status=_SERVING if serving else _NOT_SERVING)
