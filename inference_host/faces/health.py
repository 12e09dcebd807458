"""grpc.health.v1 as the agent, Envoy and Kubernetes ask it.

Its methods are open: the agent and the gateway ask them without credentials, and no route leads there from outside.
Watchers of a draining host hear NOT_SERVING and their stream ends, so that they hold nobody up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from inference_host.transport.methods import Caller, Method, Streaming, immediate, parse
from waypost.errors import NotFound

SERVICE = "grpc.health.v1.Health"


class Health:
    """One answer for the server as a whole (the empty name) and for each of its services."""

    def __init__(self, services: frozenset[str], serving: Callable[[], bool]) -> None:
        """serving: asked with every check."""
        self._services = services | {""}
        self._serving = serving
        self._changed = asyncio.Event()
        self._draining = False

    def methods(self) -> Sequence[Method]:
        return (
            Method(f"/{SERVICE}/Check", immediate(HealthCheckRequest, self._check), open=True, quiet=True),
            Method(f"/{SERVICE}/Watch", Streaming(self._watch), open=True),
        )

    def poke(self) -> None:
        """What `serving` says may have changed: watchers look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Watchers hear the last state and end."""
        self._draining = True
        self.poke()

    def _check(self, request: HealthCheckRequest, caller: Caller) -> HealthCheckResponse:
        if request.service not in self._services:
            raise NotFound("UNKNOWN_SERVICE", f"no service {request.service!r} here", "leave the name empty")
        return self._response(request.service)

    async def _watch(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        service = parse(HealthCheckRequest, await anext(requests, b"")).service
        told: int | None = None
        while True:
            # All read before the answer leaves: a drain that begins while it is on its way must still be told.
            changed, response, last = self._changed, self._response(service), self._draining
            if response.status != told:
                told = response.status
                yield response.SerializeToString()
            if last:
                return
            await changed.wait()

    def _response(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        serving = self._serving() and not self._draining
        return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)
