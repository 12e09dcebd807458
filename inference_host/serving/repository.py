"""The model versions of a host: found by name, brought up, and, by hand, loaded anew and unloaded.

At a position there is one for the life of the process: the next version loads in a process of its own. A host that was
started by hand on a directory may be asked to read one of its models again: the new version is loaded and warmed up
beside the old one, which serves until then and answers what it has. Only one model is loaded at a time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from inference_host.model.manifest import Package
from inference_host.serving import loader
from inference_host.serving.execution import Execution
from inference_host.serving.lifecycle import REPOSITORY_STATES, State
from inference_host.serving.loader import Warm
from inference_host.serving.meter import Meter
from inference_host.serving.served import Served
from inference_host.values.calls import IndexEntry
from waypost.errors import RETRY_AFTER, MeshError, NotFound, Unavailable, Unsupported

log = structlog.get_logger()

LOADING_RETRY_MS = "1000"  # about what a small model takes to load

Packages = Callable[[], Sequence[Package]]
"""Reads the packages of a directory as they are now. Blocks. Raises: Precondition."""


class Repository:
    """What a host serves."""

    def __init__(
        self,
        served: Sequence[Served],
        execution: Execution,
        meter: Meter,
        serve: Callable[[Served, Warm], None],
        *,
        serve_as: str,
        packages: Packages | None,
    ) -> None:
        """serve: opens a version that is warm, or says why not by a MeshError.

        packages: None where models cannot be loaded anew.
        """
        self.served = tuple(served)
        self.changed: Callable[[], None] = _nobody
        """Called when a version's state has changed."""
        self._execution = execution
        self._meter = meter
        self._serve = serve
        self._packages = packages
        self._serve_as = serve_as
        self._by_name = _names(self.served, serve_as)
        self._changing = asyncio.Lock()
        self._draining = False

    def find(self, model: str, version: str) -> Served:
        """Raises: NotFound(UNKNOWN_MODEL | UNKNOWN_VERSION)."""
        served = self._by_name.get(model)
        if served is None:
            raise NotFound(
                "UNKNOWN_MODEL", f"no model {model!r} is served here", f"there is {', '.join(self._by_name)}"
            )
        if version and version != served.package.version:
            raise NotFound(
                "UNKNOWN_VERSION",
                f"version {version!r} of {model!r} is not served here",
                f"leave it empty, or ask for {served.package.version!r}",
            )
        return served

    def index(self, *, ready_only: bool) -> list[IndexEntry]:
        return [
            IndexEntry(each.package.model, each.package.version, REPOSITORY_STATES[each.life.state], each.life.message)
            for each in self.served
            if each.life.serves or not ready_only
        ]

    async def bring_up(self, served: Served) -> MeshError | None:
        """Loads a version, proves that it answers, and lets calls in. Returns why not, where it cannot."""
        began, package = time.perf_counter(), served.package
        try:
            warm = await loader.prepare(package, self._execution, lambda: self._warming(served))
            self._serve(served, warm)
        except MeshError as error:
            served.life = served.life.failed(error.reason, error.message)
            self.changed()
            log.error("model_refused", model=package.full_name, reason=error.reason, message=error.message)
            return error
        self.changed()
        _log_ready(served, time.perf_counter() - began)
        return None

    async def load(self, model: str) -> None:
        """Reads `model` from the directory again, or for the first time; the old version serves until the new one does.

        Raises: NotFound, Unsupported(FIXED_REPOSITORY), Unavailable(DRAINING), Precondition where it cannot be served.
        """
        async with self._changing:
            served = Served(await self._package(model))
            failure = await self.bring_up(served)
            if failure is not None:
                raise failure
            if self._draining:
                raise Unavailable("DRAINING", "this host is stopping", "ask another one")
            before = self._put(served)
            if before is not None:
                await self._retire(before)

    async def unload(self, model: str) -> None:
        """Lets no calls in any more; returns when those inside have been answered. Twice is once.

        Raises: NotFound, Unavailable where it does not serve yet.
        """
        served = self.find(model, "")
        if served.life.state is State.UNLOADED:
            return
        if not served.life.serves:
            raise not_serving(served)
        log.info("model_unloaded", model=served.package.full_name)
        await self._retire(served)

    def drain(self) -> None:
        """Lets no calls in any more, for good."""
        self._draining = True
        for served in self.served:
            served.drain()

    def _warming(self, served: Served) -> None:
        served.life = served.life.warming()
        self.changed()

    async def _package(self, model: str) -> Package:
        if self._packages is None:
            raise Unsupported(
                "FIXED_REPOSITORY", f"this host cannot load {model!r}: it was not started on a directory of models"
            )
        packages = await self._execution.aside(_read, self._packages)
        for package in packages:
            if package.model == model:
                return package
        raise NotFound("UNKNOWN_MODEL", f"the directory holds no model {model!r}", "put its package there first")

    def _put(self, served: Served) -> Served | None:
        """In the place of the version before, which is returned."""
        model = served.package.model
        before = next((each for each in self.served if each.package.model == model), None)
        self.served = (*(each for each in self.served if each is not before), served)
        self._by_name = _names(self.served, self._serve_as)
        self.changed()
        return before

    async def _retire(self, served: Served) -> None:
        """Returns when the last call inside has been answered. Its memory is free then, whoever waits for that."""
        lanes = served.unload()
        self.changed()
        try:
            for lane in lanes:
                await lane.rest()
        finally:
            served.tally.empty_into(self._meter.elsewhere)


def not_serving(served: Served) -> Unavailable:
    """Nothing was executed: whoever asks may ask another replica, or again."""
    name, life = served.package.model, served.life
    if life.state is State.FAILED:
        return Unavailable("MODEL_FAILED", f"model {name!r} could not be loaded: {life.message}", "see the host's log")
    if life.state is State.DRAINING:
        return Unavailable("DRAINING", "this host is stopping", "try again: another replica answers")
    if life.state is State.UNLOADED:
        return Unavailable("MODEL_UNLOADED", f"model {name!r} was unloaded", "have it loaded again")
    message = f"model {name!r} is {life.state.lower()}"
    return Unavailable("MODEL_NOT_READY", message, "try again in a moment", **{RETRY_AFTER: LOADING_RETRY_MS})


def _names(served: Sequence[Served], serve_as: str) -> dict[str, Served]:
    names = {each.package.model: each for each in served}
    if serve_as:
        assert len(served) == 1, "a position serves one model version per host"
        names.setdefault(serve_as, served[0])
    return names


def _log_ready(served: Served, took_s: float) -> None:
    warm, lanes = served.warm, served.lanes
    assert warm is not None
    assert lanes is not None
    log.info(
        "model_ready",
        model=served.package.full_name,
        took_ms=round(took_s * 1e3),
        run_us=round(warm.run_s * 1e6) if warm.run_s < 3600 else None,
        inline_elements_max=warm.inline_elements_max,
        batch_rows_max=lanes.batch_rows_max,
        threads=warm.loaded.threads,
        samples=len(warm.samples),
    )


def _read(packages: Packages) -> Sequence[Package]:
    return packages()


def _nobody() -> None: ...
