"""One host from start to end: listen, load, serve, drain.

It listens before it loads: whoever asks meanwhile hears NOT_SERVING and UNAVAILABLE, and a taken port is known at once.
Loading happens on a thread. After READY nothing happens but calls, until SIGTERM: then the order is health, streams and
the HTTP clients' keep-alive, GOAWAY, calls in flight, last words to the monitor.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import structlog

from inference_host import auth, http1, loader, oip_grpc, oip_http, xapp_grpc
from inference_host.cores import cores
from inference_host.dataplane import DataPlane, Place, Served
from inference_host.execution import Execution
from inference_host.health import SERVICE as HEALTH_SERVICE
from inference_host.health import Health
from inference_host.loader import Warm
from inference_host.manifest import Package
from inference_host.settings import HostSettings
from inference_host.uplink import Uplink
from mesh import clock, serve
from mesh.identity import Identity
from waypost.errors import MeshError, Precondition
from waypost.rpc import MESSAGE_BYTES_MAX

log = structlog.get_logger()

NO_TLS_FLAG = "--insecure-no-tls"
_QUIET = frozenset(
    {
        f"/{HEALTH_SERVICE}/Check",
        f"/{xapp_grpc.SERVICE}/Infer",
        *(
            f"/{oip_grpc.SERVICE}/{method}"
            for method in ("ServerLive", "ServerReady", "ModelReady", "ModelMetadata", "ModelInfer", "ModelStreamInfer")
        ),
    }
)
"""Called many times a second: one log line each would cost more than a small model. They are counted instead."""


class Host:
    """A host that serves `packages`; made inside its event loop."""

    def __init__(self, settings: HostSettings, packages: Sequence[Package]) -> None:
        """Raises: Precondition, Invalid where it may not serve like this (auth.make)."""
        loop = asyncio.get_running_loop()
        place = Place(settings.position, settings.position_uid, settings.replica, settings.serve_as)
        software = version("waypost-platform")
        self._settings = settings
        self._gate = auth.make(
            settings.jwks,
            settings.position_uid,
            [settings.grpc, settings.http],
            clock.now,
            no_auth=settings.insecure_no_auth,
        )
        self.execution = Execution(settings.threads or cores())
        self.plane = DataPlane([Served(package) for package in packages], place, self.execution, loop.time)
        self._grpc_face = oip_grpc.Face(self.plane, software)
        self._http_face = oip_http.Face(self.plane, self._gate, software, MESSAGE_BYTES_MAX)
        self._health = Health(frozenset({oip_grpc.SERVICE, xapp_grpc.SERVICE}), self.plane.ready)
        self._uplink = Uplink(self.plane, self._gate, self.execution, software_version=software)
        self.grpc_address = self.http_address = ""
        """As bound, once it listens."""

    @property
    def gate_open(self) -> bool:
        """Whether everybody may call."""
        return self._gate.open

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> MeshError | None:
        """Until `stop`; calls `on_ready` when every model that can serve does. Returns why, where none can.

        Raises: MeshError in a group, where it cannot listen.
        """
        async with asyncio.TaskGroup() as tasks:
            grpc_server = self._grpc_server()
            http_server = http1.Server(
                self._http_face.respond, oip_http.error_response, http1.Limits(MESSAGE_BYTES_MAX), tasks
            )
            self.http_address = await self._listen_http(http_server)
            await grpc_server.start()
            uplink = tasks.create_task(self._run_uplink(), name="uplink")
            try:
                return await self._serve(stop, on_ready)
            finally:
                await self._drain(grpc_server, http_server)
                uplink.cancel()
                self.execution.close()

    def _grpc_server(self) -> grpc.aio.Server:
        server = serve.grpc_server(authorise=self._authorise, quiet=_QUIET)
        server.add_generic_rpc_handlers((self._grpc_face.handlers(),))
        xapp_grpc.Face(self.plane).add_to(server)
        self._health.add_to(server)
        self.grpc_address = self._listen_grpc(server)
        return server

    def _listen_grpc(self, server: grpc.aio.Server) -> str:
        address, insecure = self._settings.grpc, self._plaintext_anywhere
        try:
            return serve.listen(server, address, Identity.local(), insecure=insecure, insecure_flag=NO_TLS_FLAG)
        except RuntimeError as error:  # all that grpc says of a path that is too long or a directory that is not there
            hint = "choose another with --grpc; the path of a Unix socket has at most 107 characters"
            raise Precondition("BAD_ADDRESS", f"cannot listen on {address}", hint) from error

    @property
    def _plaintext_anywhere(self) -> bool:
        """Where nobody is asked who he is, there is no token for others to read."""
        return self._settings.insecure_no_tls or self._settings.insecure_no_auth

    async def _listen_http(self, server: http1.Server) -> str:
        address = self._settings.http
        try:
            if address.startswith("unix:"):
                await server.listen_unix(Path(address.removeprefix("unix:")))
                return address
            host, port = serve.split_address(address)
            if not serve.is_loopback(host):
                serve.refuse_insecure(address, insecure=self._plaintext_anywhere, insecure_flag=NO_TLS_FLAG)
            serve.refuse_taken(host, port)
            bound = await server.listen_tcp(host, port)
        except OSError as error:
            raise Precondition(
                "BAD_ADDRESS", f"cannot listen on {address}: {error}", "choose another with --http"
            ) from error
        return f"{f'[{host}]' if ':' in host else host}:{bound}"

    async def _authorise(self, method: str, context: Any) -> None:
        """Health is open: the agent and the gateway ask it, and no route leads there from outside."""
        if method.startswith(f"/{HEALTH_SERVICE}/") or self._gate.open:
            return
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                self._gate.check(value if isinstance(value, str) else "")
                return
        self._gate.check("")

    async def _run_uplink(self) -> None:
        if not self._settings.monitor:
            return
        try:
            await self._uplink.run(self._settings.monitor)
        except Exception as error:  # a host serves on without its monitor, whatever that is up to
            log.error("uplink_failed", exc_info=error)

    async def _serve(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> MeshError | None:
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(self._load_all(), name="loading")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
            failure = loading.result() if loading.done() else None
            if failure is not None:
                stopped.cancel()
            elif loading.done():
                on_ready()
            else:
                loading.cancel()
        return failure

    async def _load_all(self) -> MeshError | None:
        """One after the other. The first failure where none could be loaded."""
        failures = [failure for served in self.plane.served if (failure := await self._load(served)) is not None]
        return failures[0] if len(failures) == len(self.plane.served) else None

    async def _load(self, served: Served) -> MeshError | None:
        package = served.package
        began = time.perf_counter()
        try:
            _check_identity(package, self._settings)
            loaded = await loader.load(package, self.execution, threads=1)
            served.life = served.life.warming()
            self._publish()
            served.warm = await loader.warm_up(loaded, self.execution)
        except MeshError as error:
            served.life = served.life.failed(error.reason, error.message)
            self._publish()
            log.error("model_refused", model=package.full_name, reason=error.reason, message=error.message)
            return error
        served.life = served.life.ready()
        self._publish()
        _log_ready(served.warm, time.perf_counter() - began)
        return None

    def _publish(self) -> None:
        """Tells all who follow the state to look at it."""
        self._health.poke()
        self._uplink.report()

    async def _drain(self, grpc_server: grpc.aio.Server, http_server: http1.Server) -> None:
        grace_s = self._settings.grace_s
        for served in self.plane.served:
            served.life = served.life.draining()
        log.info("draining", in_flight=self.plane.meter.in_flight, grace_s=grace_s)
        self._publish()
        self._health.drain()
        self._grpc_face.drain()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(grpc_server.stop(grace_s), name="drain-grpc")
            tasks.create_task(http_server.drain(grace_s), name="drain-http")
        await self._uplink.farewell()


def placed(package: Package, settings: HostSettings) -> Package:
    """The package under the name that the position knows it by."""
    if not settings.model_version:
        return package
    return replace(package, full_name=settings.model_version)


def _check_identity(package: Package, settings: HostSettings) -> None:
    """Raises: Precondition(DIGEST_MISMATCH): an answer must not carry the name of another model."""
    if settings.digest and settings.digest != package.digest:
        raise Precondition(
            "DIGEST_MISMATCH",
            f"{package.directory} holds {package.digest}, the position wants {settings.digest}",
            "let the agent fetch the version again",
        )


def _log_ready(warm: Warm, took_s: float) -> None:
    log.info(
        "model_ready",
        model=warm.loaded.package.full_name,
        took_ms=round(took_s * 1e3),
        run_us=round(warm.run_s * 1e6) if warm.run_s < 3600 else None,
        inline_elements_max=warm.inline_elements_max,
        samples=len(warm.samples),
    )
