"""Keeps one follower per subscription, as subscriptions come and go, and the one importer."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from control_plane.artifacts import ArtifactStore
from control_plane.mirror import Mirror
from control_plane.registry.follower import CURSOR, Follower, cursor_name
from control_plane.registry.importer import Check, Importer
from control_plane.sources.base import ModelSource
from control_plane.store import Delete, Stores
from control_plane.store.observed_rows import SUBSCRIPTION as STATUS
from control_plane.store.resources import SUBSCRIPTION, Stored
from mesh.clock import Ids
from waypost.api.control.v1.subscription_pb2 import Subscription
from waypost.errors import MeshError

log = structlog.get_logger()

OpenSource = Callable[[Subscription], ModelSource]


@dataclass(frozen=True, slots=True)
class _Followed:
    uid: str
    source: ModelSource
    task: asyncio.Task[None]


class Registry:
    """One per control plane. packages: a directory of its own, for packages under check."""

    def __init__(
        self,
        stores: Stores,
        artifacts: ArtifactStore,
        open_source: OpenSource,
        check: Check,
        packages: Path,
        *,
        ids: Ids,
        rng: random.Random,
    ) -> None:
        self._stores = stores
        self._open_source = open_source
        self._ids = ids
        self._rng = rng
        self._followed: dict[str, _Followed] = {}
        self._importer = Importer(stores, artifacts, self._source, check, packages, rng=rng)

    async def run(self) -> None:
        """For ever; cancel it to end. Raises what the store raises, and may be run again then."""
        mirror = Mirror(self._stores.records, SUBSCRIPTION)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._importer.run(), name="importer")
                async for revision in self._stores.records.watch(0):
                    is_first = mirror.revision == 0
                    if await mirror.refresh(revision) or is_first:
                        await self._match(mirror.of(SUBSCRIPTION), tasks)
        finally:
            followed, self._followed = self._followed, {}
            for each in followed.values():
                await each.source.close()

    def _source(self, subscription: str) -> ModelSource | None:
        followed = self._followed.get(subscription)
        return followed.source if followed else None

    async def _match(self, wanted: Mapping[str, Stored[Subscription]], tasks: asyncio.TaskGroup) -> None:
        """Follows what is wanted, and nothing else. Made anew under its old name, a subscription is another one."""
        for name, followed in list(self._followed.items()):
            if name not in wanted or wanted[name].message.uid != followed.uid:
                await self._stop(name, tasks)
        for name, stored in wanted.items():
            if name not in self._followed:
                self._start(name, stored.message, tasks)
        await self._forget_cursors({stored.message.uid for stored in wanted.values()})

    def _start(self, name: str, subscription: Subscription, tasks: asyncio.TaskGroup) -> None:
        source = self._open_source(subscription)
        follower = Follower(self._stores, subscription, source, ids=self._ids, rng=self._rng)
        task = tasks.create_task(follower.run(), name=f"follow-{name}")
        self._followed[name] = _Followed(subscription.uid, source, task)

    async def _stop(self, name: str, tasks: asyncio.TaskGroup) -> None:
        followed = self._followed.pop(name)
        followed.task.cancel()
        await asyncio.wait([followed.task])
        tasks.create_task(_let_go(followed.source), name=f"let-go-{name}")  # a platform that hangs holds up nobody
        await self._stores.observed.delete(STATUS, [name])
        log.info("source_no_longer_followed", subscription=name)

    async def _forget_cursors(self, uids: set[str]) -> None:
        """Of subscriptions that are no more, also those deleted while nobody ran."""
        page = await self._stores.records.scan("cursors/", kind=CURSOR)
        kept = {cursor_name(uid) for uid in uids}
        gone = [Delete(record.name) for record in page.records if record.name not in kept]
        if gone:
            await self._stores.records.commit(gone)


async def _let_go(source: ModelSource) -> None:
    """Takes back what was reported, where the platform is there to hear it: nobody would ever correct it."""
    try:
        with suppress(MeshError):
            await source.report([])
    finally:
        await source.forget()
