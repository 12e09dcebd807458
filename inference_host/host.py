"""One host from start to end: listen, load, serve, drain.

    faces (oip_grpc, xapp_grpc, health, reflection)  ──▶ one table of methods ──▶ h2            ┐
                                                                             └──▶ grpcio_front   ├─ the data plane
    oip_http                                         ──────────────────────────▶ http1          ┘

It listens before it loads: whoever asks meanwhile hears NOT_SERVING and UNAVAILABLE, and a taken port is known at once.
After READY nothing happens but calls, until SIGTERM: then the order is health, streams, GOAWAY and the end of HTTP's
keep-alive, calls in flight, last words to the monitor.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from inference_host.faces import access_by_hand, health, http_errors, oip_grpc, oip_http, reflection, xapp_grpc
from inference_host.model import manifest
from inference_host.model.manifest import Package
from inference_host.processes.cores import cores
from inference_host.processes.worker import Worker
from inference_host.serving import watchdog
from inference_host.serving.batching import Batching
from inference_host.serving.dataplane import DataPlane, Place
from inference_host.serving.execution import Execution
from inference_host.serving.lifecycle import Lifecycle, State
from inference_host.serving.served import Served
from inference_host.settings import HostSettings
from inference_host.transport import auth, connections, h2, http1, server
from inference_host.transport.connections import Connections
from inference_host.transport.h2_heads import Reader
from inference_host.transport.methods import Method
from mesh import clock, serve
from mesh.identity import Identity, server_context
from mesh.version import VERSION
from waypost.errors import MeshError, Precondition
from waypost.rpc import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from inference_host.uplink import Uplink

log = structlog.get_logger()

NO_TLS_FLAG = "--insecure-no-tls"
TLS_HINT = "--tls names a directory with certificate.pem, a PEM chain, and key.pem, its key without a passphrase"
AT_ONCE = 1  # connections that one of several processes takes while others may be free to
SERVICES = (oip_grpc.SERVICE, xapp_grpc.SERVICE)


Drain: TypeAlias = Callable[[float], Coroutine[Any, Any, None]]
"""Ends a front end within so many seconds."""


class Host:
    """A host that serves `packages`; made inside its event loop."""

    def __init__(self, settings: HostSettings, packages: Sequence[Package], worker: Worker | None = None) -> None:
        """worker: where this is one of several processes. Raises: Precondition, Invalid where it may not serve like
        this (auth.make)."""
        self._settings = settings
        self._worker = worker
        self._is_open = worker is None
        self._software = VERSION
        self._gate = _gate(settings)
        self.execution = Execution(settings.threads or max(1, cores() // settings.processes))
        self.plane = DataPlane(
            [Served(package) for package in packages],
            Place(
                settings.position,
                settings.position_uid,
                settings.replica,
                settings.serve_as,
                processes=settings.processes,
            ),
            self.execution,
            time.monotonic,  # what the loop's own clock reads, without a call in between
            Batching(settings.batch_delay_ms / 1e3, settings.batch_rows_max, settings.queue_rows_max),
            _directory(settings),
        )
        self.plane.changed = self._publish
        self._health = health.Health(frozenset(SERVICES), self.plane.ready)
        self._uplink: Uplink | None = None
        self._has_coroutines = asyncio.Event()
        self.addresses: list[str] = []
        """Where it listens, as bound."""
        self.grpcio_address = ""

    @property
    def gate_open(self) -> bool:
        """Whether everybody may call."""
        return self._gate.open

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> MeshError | None:
        """Until `stop`; calls `on_ready` when every model that can serve does. Returns why, where none can.

        Raises: MeshError in a group, where it cannot listen.
        """
        async with asyncio.TaskGroup() as tasks, self.execution:
            face = oip_grpc.Face(self.plane, self._gate, self._software, tasks)
            methods = self._methods(face)
            front = self._server(methods, tasks)
            if self._worker is None:
                await self._listen(front)
            drains: list[Drain] = [front.drain]
            if self._settings.grpcio_listen:
                drains.append(await self._grpcio(methods))
            beside = [
                tasks.create_task(self._run_uplink(), name="uplink"),
                tasks.create_task(self._watch_loop(), name="watchdog"),
            ]
            if self._worker is not None:
                beside.append(tasks.create_task(self._worker.run(self.plane, self._gate), name="worker"))
            try:
                return await self._serve(front, stop, on_ready)
            finally:
                await self._drain(face, drains)
                for task in beside:
                    task.cancel()

    # -- front ends

    def _methods(self, face: oip_grpc.Face) -> list[Method]:
        faces = (face, xapp_grpc.Face(self.plane, self._gate), self._health)
        stands_in = self.plane.place.by_hand and self.gate_open
        return [
            *(method for each in faces for method in each.methods()),
            *(access_by_hand.Face(self.plane).methods() if stands_in else ()),
            *reflection.methods([*SERVICES, health.SERVICE]),
        ]

    def _server(self, methods: Sequence[Method], tasks: asyncio.TaskGroup) -> server.Server:
        limits = connections.Limits()
        memory_bytes = limits.memory_bytes // self._settings.processes
        places = server.places(limits.connections)
        here = Connections(replace(limits, connections=places, memory_bytes=memory_bytes), time.monotonic)
        reader = Reader(methods, log_all=self._settings.log_level == "debug")
        over_http2 = h2.Service(reader, self._gate, here, tasks)
        self.plane.settled = over_http2.outbox.flush
        http_face = oip_http.Face(self.plane, self._gate, self._software, MESSAGE_BYTES_MAX, tasks)
        over_http1 = http1.Service(http_face.begin, http_errors.error_response, http1.Limits(MESSAGE_BYTES_MAX), here)
        return server.Server(
            here,
            http2=lambda full: h2.Connection(over_http2, full=full),
            http1=lambda full: http1.Connection(over_http1, full=full),
            tasks=tasks,
        )

    async def _listen(self, front: server.Server) -> None:
        context = self._context()
        for address in self._settings.addresses:
            over_network = not address.startswith("unix:")
            if over_network and context is None:
                self._refuse_plaintext(address)
            self.addresses.append(await front.listen(address, context if over_network else None))

    async def _join(self, worker: Worker, front: server.Server) -> None:
        """Listens where the other processes do. Raises: Precondition."""
        context = self._context()
        for listener in worker.listeners:
            over_network = listener.taker is None
            if over_network and context is None:
                self._refuse_plaintext(listener.address)
            taker = listener.taker or server.joined(listener.address)
            await front.take_from(taker, context if over_network else None, AT_ONCE)
            self.addresses.append(listener.address)

    def _refuse_plaintext(self, address: str) -> None:
        """Raises: Precondition(INSECURE_ADDRESS) where other machines could listen in."""
        if not serve.is_loopback(serve.split_address(address)[0]):
            serve.refuse_insecure(address, insecure=self._plaintext_anywhere, insecure_flag=NO_TLS_FLAG)

    def _context(self) -> SSLContext | None:
        """Raises: Precondition(BAD_TLS)."""
        directory = self._settings.tls
        try:
            return None if directory is None else server_context(directory, server.PROTOCOLS)
        except OSError as error:
            raise _bad_tls(error) from error

    async def _grpcio(self, methods: Sequence[Method]) -> Drain:
        from inference_host.transport import grpcio_front

        address, insecure = self._settings.grpcio_listen, self._plaintext_anywhere
        made = grpcio_front.server(methods, self._gate)
        try:
            identity = Identity.local() if self._settings.tls is None else Identity.of_server(self._settings.tls)
            self.grpcio_address = serve.listen(made, address, identity, insecure=insecure, insecure_flag=NO_TLS_FLAG)
        except OSError as error:
            raise _bad_tls(error) from error
        await made.start()
        return partial(grpcio_front.drain, made)

    @property
    def _plaintext_anywhere(self) -> bool:
        """Where nobody is asked who he is, there is no token for others to read."""
        return self._settings.insecure_no_tls or self._settings.insecure_no_auth

    # -- the link

    async def _run_uplink(self) -> None:
        if not self._settings.monitor:
            return
        if self._worker is not None:
            await self._worker.speaks.wait()
        from inference_host.uplink import Uplink  # 20 ms, which a host by hand does not need

        self._uplink = Uplink(self.plane, self._gate, self._life, worker=self._worker)
        try:
            await self._uplink.run(self._settings)
        except Exception as error:  # a host serves on without its monitor, whatever that is up to
            log.error("uplink_failed", exc_info=error)

    async def _watch_loop(self) -> None:
        """From when a template is served whose steps run on the event loop."""
        await self._has_coroutines.wait()
        await watchdog.watch()

    def _publish(self) -> None:
        """Tells all who follow the state to look at it."""
        self._health.poke()
        if any(served.warm is not None and served.warm.loaded.steps.on_loop for served in self.plane.served):
            self._has_coroutines.set()
        if self._uplink is not None:
            self._uplink.report()

    def _life(self) -> Lifecycle:
        """The host's as a whole: it is not ready before all of its processes are."""
        life = self.plane.life()
        return life if self._is_open or not life.serves else Lifecycle(State.WARMING)

    # -- its life

    async def _serve(self, front: server.Server, stop: asyncio.Event, on_ready: Callable[[], None]) -> MeshError | None:
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(self._come_up(front), name="loading")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
            failure = loading.result() if loading.done() else None
            if failure is not None:
                stopped.cancel()
            elif loading.done():
                gc.freeze()  # what was imported and loaded stays: the collector need not walk over it again
                on_ready()
            else:
                loading.cancel()
        return failure

    async def _come_up(self, front: server.Server) -> MeshError | None:
        """Returns why it cannot serve. One of several processes listens only when all can."""
        failure = await self._load_all()
        if failure is None and self._worker is not None:
            await self._worker.wait_to_listen()
            await self._join(self._worker, front)
            self._is_open = True
            self._publish()
            self._worker.is_ready()
        return failure

    async def _load_all(self) -> MeshError | None:
        """One after the other. The first failure where none could be loaded."""
        served = self.plane.served
        failures = [failure for each in served if (failure := await self._load(each)) is not None]
        return failures[0] if len(failures) == len(served) else None

    async def _load(self, served: Served) -> MeshError | None:
        try:
            _check_identity(served.package, self._settings)
        except MeshError as error:
            served.life = served.life.failed(error.reason, error.message)
            self._publish()
            log.error("model_refused", model=served.package.full_name, reason=error.reason, message=error.message)
            return error
        return await self.plane.bring_up(served)

    async def _drain(self, face: oip_grpc.Face, drains: Sequence[Drain]) -> None:
        grace_s = self._settings.grace_s
        log.info("draining", in_flight=self.plane.in_flight, grace_s=grace_s)
        self.plane.drain()
        self._health.drain()
        face.drain()
        async with asyncio.TaskGroup() as tasks:
            for drain in drains:
                tasks.create_task(drain(grace_s), name="drain")
        if self._worker is not None:
            await self._worker.say_last_words(self.plane, grace_s)
        if self._uplink is not None:
            await self._uplink.farewell()


def placed(package: Package, settings: HostSettings) -> Package:
    """The package under the name that the position knows it by."""
    if not settings.model_version:
        return package
    return replace(package, full_name=settings.model_version)


def _gate(settings: HostSettings) -> auth.Gate:
    addresses = [*settings.addresses, *filter(None, [settings.grpcio_listen])]
    return auth.make(settings.jwks, settings.position_uid, addresses, clock.now, no_auth=settings.insecure_no_auth)


def _directory(settings: HostSettings) -> Callable[[], Sequence[Package]] | None:
    """What a host by hand may load later; a position's host serves its one version to the end."""
    model = settings.model
    return None if settings.position_uid or model is None else lambda: manifest.find(model)


def _check_identity(package: Package, settings: HostSettings) -> None:
    """Raises: Precondition(DIGEST_MISMATCH): an answer must not carry the name of another model."""
    if settings.digest and settings.digest != package.digest:
        raise Precondition(
            "DIGEST_MISMATCH",
            f"{package.directory} holds {package.digest}, the position wants {settings.digest}",
            "let the agent fetch the version again",
        )


def _bad_tls(error: OSError) -> Precondition:
    return Precondition("BAD_TLS", f"the certificate cannot be used: {error}", TLS_HINT)
