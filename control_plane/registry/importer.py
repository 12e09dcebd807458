"""Brings model versions from IMPORTING to AVAILABLE or INVALID, wherever they came from.

What is IMPORTING in the store is what there is to do, also after a restart: artifacts are fetched by digest from the
subscription's source (or were uploaded before), laid out as a package, checked in a confined child, and the verdict is
committed against the revision that was judged. A version that was withdrawn or deleted meanwhile is left alone.

What may pass (the source is away, the disk is full) is tried again with back-off, and a condition says why it waits.
What will not pass by itself (other bytes than promised, a graph that does not load) makes the version INVALID; it is
tried again when its source publishes it again.
"""

import asyncio
import os
import random
import shutil
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf import json_format

from control_plane.artifacts.store import Pieces, disk_explained
from control_plane.conditions import condition, failed
from control_plane.mirror import Mirror
from control_plane.registry.versions import ARTIFACTS_STORED, CHECKED
from control_plane.sources.base import ModelSource
from control_plane.store import EventRow, RevisionConflict, Stores
from control_plane.store.resources import MODEL_VERSION, SUBSCRIPTION, Resources, Stored
from mesh import clock
from mesh.files import remove_tree
from mesh.packages import MANIFEST
from mesh.times import timestamp
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    MODEL_VERSION_STATE_INVALID,
    ModelVersion,
    ModelVersionState,
    Signature,
)
from waypost.errors import DataLoss, Invalid, MeshError, NotFound, Unavailable

log = structlog.get_logger()

FETCHES_MAX = 4  # versions being fetched at once: more only share the same wire
CHECKS_MAX = 1  # a check loads a model, and what serves on this machine needs its memory and CPU more
BACKOFF_INITIAL_S = 0.5
BACKOFF_MAX_S = 30.0

PERMANENT = (DataLoss, NotFound, Invalid)

Check = Callable[[Path], Awaitable[Signature]]
"""Judges a package directory; returns what the model takes and gives. Raises Invalid with what is wrong with it."""


class Artifacts(Protocol):
    """What of the artifact stores is needed here."""

    def has(self, digest: str) -> bool:
        """It lies on our own disk."""

    def path(self, digest: str) -> Path: ...

    async def ensure(self, digest: str) -> None:
        """It lies on our own disk afterwards. Raises NotFound where no control plane has it."""

    async def fetch(self, digest: str, size_bytes: int, pieces: Pieces) -> None: ...


class Importer:
    """One per control plane. directory: for packages under check; whatever lies in it is cleared at the start.

    is_ours: of several control planes, whether this one is to import a version. `look_again` when that changed.
    """

    def __init__(
        self,
        stores: Stores,
        artifacts: Artifacts,
        sources: Callable[[str], ModelSource | None],
        is_ours: Callable[[ModelVersion], bool],
        check: Check,
        directory: Path,
        *,
        rng: random.Random,
    ) -> None:
        self._stores = stores
        self._resources = Resources(stores.records)
        self._artifacts = artifacts
        self._sources = sources
        self._is_ours = is_ours
        self._check = check
        self._directory = directory
        self._rng = rng
        self._fetching = asyncio.Semaphore(FETCHES_MAX)
        self._checking = asyncio.Semaphore(CHECKS_MAX)
        self._under_way: set[str] = set()
        self._look_again: set[str] = set()
        self._claims_changed = asyncio.Event()

    def look_again(self) -> None:
        """Other versions may be ours than before."""
        self._claims_changed.set()

    async def run(self) -> None:
        """For ever; cancel it to end. May be run again."""
        self._under_way.clear()
        with disk_explained(self._directory):
            remove_tree(self._directory)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mirror = Mirror(self._stores.records, MODEL_VERSION)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_claims(mirror, tasks), name="importer-claims")
            async for revision in self._stores.records.watch(0):
                self._start_all(mirror, await mirror.refresh(revision), tasks)

    async def _follow_claims(self, mirror: Mirror, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._claims_changed.wait()
            self._claims_changed.clear()
            self._start_all(mirror, list(mirror.of(MODEL_VERSION)), tasks)

    def _start_all(self, mirror: Mirror, changed: Iterable[str], tasks: asyncio.TaskGroup) -> None:
        for name in changed:
            stored = mirror.of(MODEL_VERSION).get(name)
            if stored is not None and self._is_to_do(stored.message):
                self._start(name, tasks)

    def _is_to_do(self, version: ModelVersion) -> bool:
        return version.state == MODEL_VERSION_STATE_IMPORTING and self._is_ours(version)

    def _start(self, name: str, tasks: asyncio.TaskGroup) -> None:
        if name in self._under_way:
            self._look_again.add(name)  # it may just have looked for the last time
        else:
            self._under_way.add(name)
            tasks.create_task(self._import(name), name=f"import-{name}")

    async def _import(self, name: str) -> None:
        backoff_s = BACKOFF_INITIAL_S
        while True:
            self._look_again.discard(name)
            stored = await self._resources.find(MODEL_VERSION, name)
            if stored is not None and self._is_to_do(stored.message):
                if not await self._attempt(stored):
                    await asyncio.sleep(self._rng.uniform(0, backoff_s))
                    backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            elif name not in self._look_again:
                self._under_way.discard(name)
                return

    async def _attempt(self, stored: Stored[ModelVersion]) -> bool:
        """False where it must be tried again later."""
        version = stored.message
        try:
            async with self._fetching:
                await self._store_artifacts(version)
        except MeshError as error:
            return await self._failed(stored, ARTIFACTS_STORED, error)
        try:
            async with self._checking:
                signature = await self._checked(version)
        except MeshError as error:
            return await self._failed(stored, CHECKED, error)
        except Exception as error:  # a stranger's code was at work: what it brought about ends with its version
            log.exception("check_broke", version=version.name)
            return await self._failed(stored, CHECKED, _broken(error))
        await self._conclude(stored, MODEL_VERSION_STATE_AVAILABLE, _stored_and_checked(version), signature)
        return True

    # -- the two steps

    async def _store_artifacts(self, version: ModelVersion) -> None:
        for artifact in version.artifacts:
            if self._artifacts.has(artifact.digest):
                continue
            if version.subscription:
                source = await self._source(version)
                pieces = partial(source.fetch, artifact.digest)
                await self._artifacts.fetch(artifact.digest, artifact.size_bytes, pieces)
            else:
                await self._artifacts.ensure(artifact.digest)

    async def _source(self, version: ModelVersion) -> ModelSource:
        """Where the version's artifacts come from. Raises NotFound where they come from nowhere any more."""
        hint = "upload its artifacts and create the version again"
        if source := self._sources(version.subscription):
            return source
        if await self._resources.find(SUBSCRIPTION, version.subscription):
            raise Unavailable("SOURCE_NOT_FOLLOWED", f"{version.subscription} is not followed yet")
        raise NotFound("SUBSCRIPTION_NOT_FOUND", f"{version.subscription}, which it came from, was deleted", hint)

    async def _checked(self, version: ModelVersion) -> Signature:
        package = self._directory / version.uid
        try:
            await asyncio.to_thread(self._lay_out, version, package)
            return await self._check(package)
        finally:
            await asyncio.to_thread(remove_tree, package)

    def _lay_out(self, version: ModelVersion, package: Path) -> None:
        """The version's files by path, and its manifest, as an edge server unpacks it. Raises Exhausted, Unavailable.

        Code is given copies, since it could write to what it runs from; for a graph alone, links do.
        """
        place = shutil.copyfile if version.template_class else os.link
        remove_tree(package)
        with disk_explained(package):
            package.mkdir(mode=0o700)
            (package / MANIFEST).write_text(json_format.MessageToJson(version))
            for artifact in version.artifacts:
                path = package / artifact.path
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                place(self._artifacts.path(artifact.digest), path)

    # -- the verdict

    async def _failed(self, stored: Stored[ModelVersion], stage: str, error: MeshError) -> bool:
        before = stored.message.conditions
        conditions = [failed(stage, error, before, now=clock.now())]
        if stage == CHECKED:
            conditions.insert(0, condition(ARTIFACTS_STORED, True, before, now=clock.now()))
        if isinstance(error, PERMANENT):
            await self._conclude(stored, MODEL_VERSION_STATE_INVALID, conditions)
            return True
        if [known.reason for known in before] != [known.reason for known in conditions]:
            await self._conclude(stored, MODEL_VERSION_STATE_IMPORTING, conditions)
        return False

    async def _conclude(
        self,
        stored: Stored[ModelVersion],
        state: ModelVersionState.ValueType,
        conditions: Iterable[Condition],
        signature: Signature | None = None,
    ) -> None:
        """Writes what was found, unless the version has changed since: then it is looked at again."""
        version = ModelVersion()
        version.CopyFrom(stored.message)
        version.state = state
        version.ClearField("conditions")
        version.conditions.extend(conditions)
        if signature is not None:
            version.signature.CopyFrom(signature)
        version.update_time.CopyFrom(timestamp(clock.now()))
        with suppress(RevisionConflict):
            put = MODEL_VERSION.encode(version.name, version)
            await self._stores.records.commit([put], expect={version.name: stored.revision})
            await self._tell(version)

    async def _tell(self, version: ModelVersion) -> None:
        told = {
            MODEL_VERSION_STATE_AVAILABLE: ("VERSION_IMPORTED", "its artifacts are stored and checked"),
            MODEL_VERSION_STATE_INVALID: ("VERSION_INVALID", version.conditions[-1].message),
        }
        if version.state in told:
            reason, message = told[version.state]
            log.info(reason.lower(), version=version.name, why=version.conditions[-1].reason or None)
            now_ms = round(clock.now() * 1000)
            await self._stores.events.append([EventRow(now_ms, version.name, reason, message, "control-plane")])


def _broken(error: Exception) -> Invalid:
    """What nobody has foreseen about one version must not end what serves all others, at every start anew."""
    return Invalid(
        "CHECK_CRASHED",
        f"the check of the model failed in a way of its own: {type(error).__name__}",
        "its traceback stands in the control plane's log; publish the version again when it is mended",
    )


def _stored_and_checked(version: ModelVersion) -> list[Condition]:
    return [condition(type_, True, version.conditions, now=clock.now()) for type_ in (ARTIFACTS_STORED, CHECKED)]
