"""Keeps one follower per subscription, as subscriptions come and go, and the one importer.

Of several control planes one follows a subscription and imports its versions: the one that holds the claim on it. What
people upload is imported by whoever holds a claim on that. A claim is no lock: two that believe to hold it for a moment
do the same work twice, and the store takes it once.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from control_plane.mirror import Mirror
from control_plane.peers.holdings import Holdings
from control_plane.registry.follower import CURSOR, Follower, cursor_name
from control_plane.registry.importer import Artifacts, Check, Importer
from control_plane.sources.base import ModelSource
from control_plane.store import Delete, Fence, RevisionConflict, Stores
from control_plane.store.observed_rows import SUBSCRIPTION as STATUS
from control_plane.store.resources import SUBSCRIPTION, Stored
from mesh.clock import Ids
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.control.v1.subscription_pb2 import Subscription
from waypost.errors import MeshError

log = structlog.get_logger()

UPLOADS = "uploads"
"""Name of the claim of whoever imports what people upload."""

OpenSource = Callable[[Subscription], ModelSource]


@dataclass(frozen=True, slots=True)
class _Followed:
    uid: str
    source: ModelSource
    task: asyncio.Task[None]
    fence: Fence | None


class Registry:
    """One per control plane. packages: a directory of its own, for packages under check."""

    def __init__(
        self,
        stores: Stores,
        artifacts: Artifacts,
        open_source: OpenSource,
        check: Check,
        packages: Path,
        holdings: Holdings,
        *,
        ids: Ids,
        rng: random.Random,
    ) -> None:
        self._stores = stores
        self._open_source = open_source
        self._holdings = holdings
        self._ids = ids
        self._rng = rng
        self._followed: dict[str, _Followed] = {}
        self._subscriptions: Mapping[str, Stored[Subscription]] = {}
        self._importer = Importer(stores, artifacts, self._source, self._is_ours, check, packages, rng=rng)

    async def run(self) -> None:
        """For ever; cancel it to end. Raises what the store raises, and may be run again then."""
        mirror, news = Mirror(self._stores.records, SUBSCRIPTION), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_ring(self._stores.records.watch(0), news), name="registry-commits")
                tasks.create_task(_ring(self._holdings.changes(), news), name="registry-claims")
                tasks.create_task(self._importer.run(), name="importer")
                seen = -1
                while True:
                    if await mirror.refresh(self._stores.known_revision) or seen != self._holdings.version:
                        await self._match(mirror.of(SUBSCRIPTION), mirror.revision, tasks)
                        seen = self._holdings.version
                    await news.wait()
                    news.clear()
        finally:
            followed, self._followed = self._followed, {}
            for each in followed.values():
                await each.source.close()

    def _is_ours(self, version: ModelVersion) -> bool:
        """Whether we are the one to import it."""
        subscription = self._subscriptions.get(version.subscription)
        return self._holdings.holds(claim_of(subscription.message) if subscription else UPLOADS)

    def _source(self, subscription: str) -> ModelSource | None:
        followed = self._followed.get(subscription)
        return followed.source if followed else None

    async def _match(self, wanted: Mapping[str, Stored[Subscription]], revision: int, tasks: asyncio.TaskGroup) -> None:
        """Follows what is wanted and ours, and nothing else. Made anew under its old name, it is another one."""
        claims = {name: claim_of(stored.message) for name, stored in wanted.items()}
        await self._holdings.want({UPLOADS, *claims.values()})
        self._subscriptions = wanted
        for name, followed in list(self._followed.items()):
            if name not in wanted or wanted[name].message.uid != followed.uid:
                await self._stop(name, tasks)
            elif followed.fence != self._holdings.fence(claims[name]):
                await self._hand_over(name)
        for name, stored in wanted.items():
            if name not in self._followed and self._holdings.holds(claims[name]):
                self._start(name, stored.message, tasks)
        self._importer.look_again()
        await self._forget_cursors({stored.message.uid for stored in wanted.values()}, as_of=revision)

    def _start(self, name: str, subscription: Subscription, tasks: asyncio.TaskGroup) -> None:
        source = self._open_source(subscription)
        fence = self._holdings.fence(claim_of(subscription))
        follower = Follower(self._stores, subscription, source, fence, ids=self._ids, rng=self._rng)
        task = tasks.create_task(follower.run(), name=f"follow-{name}")
        self._followed[name] = _Followed(subscription.uid, source, task, fence)

    async def _stop(self, name: str, tasks: asyncio.TaskGroup) -> None:
        followed = self._followed.pop(name)
        followed.task.cancel()
        await asyncio.wait([followed.task])
        tasks.create_task(_let_go(followed.source), name=f"let-go-{name}")  # a platform that hangs holds up nobody
        await self._stores.observed.delete(STATUS, [name])
        log.info("source_no_longer_followed", subscription=name)

    async def _hand_over(self, name: str) -> None:
        """A peer follows it now, or did for a while; what was reported there stands."""
        followed = self._followed.pop(name)
        followed.task.cancel()
        await asyncio.wait([followed.task])
        await followed.source.close()

    async def _forget_cursors(self, uids: set[str], *, as_of: int) -> None:
        """Of subscriptions that are no more, also those deleted while nobody ran.

        Only where nothing has happened since: a peer may follow one that was made a moment ago.
        """
        page = await self._stores.records.scan("cursors/", kind=CURSOR)
        kept = {cursor_name(uid) for uid in uids}
        gone = [Delete(record.name) for record in page.records if record.name not in kept]
        if gone:
            with suppress(RevisionConflict):
                await self._stores.records.commit(gone, unchanged_since=as_of)


def claim_of(subscription: Subscription) -> str:
    """Name of the claim of whoever follows a subscription."""
    return f"subscriptions/{subscription.uid}"


async def _ring(changes: AsyncIterator[object], news: asyncio.Event) -> None:
    """Wakes whoever waits for several things at once."""
    async for _ in changes:
        news.set()


async def _let_go(source: ModelSource) -> None:
    """Takes back what was reported, where the platform is there to hear it: nobody would ever correct it."""
    try:
        with suppress(MeshError):
            await source.report([])
    finally:
        await source.forget()
