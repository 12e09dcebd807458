"""One subscription: hears its training platform for ever, and makes what it hears durable, one commit per event.

The cursor is a record of its own, `cursors/<subscription's uid>`, in the same commit as what the event changed and
guarded by the revision that it was read at: a kill at any point loses nothing and doubles nothing, and of two
followers of one subscription one notices that it is the second. Inside a snapshot there is no cursor to move. What the
snapshot did not name is withdrawn at its end, so a snapshot that broke off withdraws nothing.

A session begins with telling the platform what serves. The platform should know, and its answer is the one proof that
it is there: a stream on which nothing happens yet says nothing.
"""

import asyncio
import hashlib
import random
from collections.abc import Collection, Sequence
from contextlib import aclosing

import structlog

from control_plane.conditions import condition, failed
from control_plane.registry.reporter import Reporter
from control_plane.registry.translate import Draft, Found, Note, Origin, Target, translate, withdraw
from control_plane.sources.base import ModelSource
from control_plane.store import EventRow, Fence, Put, RevisionConflict, Stores
from control_plane.store.observed_rows import SUBSCRIPTION as STATUS
from control_plane.store.observed_rows import subscription_row
from control_plane.store.resources import APPLICATION, MODEL, MODEL_VERSION, PROJECT, SUBSCRIPTION, Resources, Stored
from mesh import clock
from mesh.clock import Ids
from mesh.waiting import in_own_task
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.control.v1.subscription_pb2 import Subscription, SubscriptionStatus
from waypost.api.training.v1.training_pb2 import SubscribeRequest, SubscribeResponse
from waypost.errors import Invalid, MeshError, OutOfRange

log = structlog.get_logger()

BACKOFF_INITIAL_S = 0.2
BACKOFF_MAX_S = 15.0  # a platform that was away for a day is followed again within a quarter of a minute
COMMIT_PUTS_MAX = 500  # a withdrawal of very many versions is cut up: below what one commit of the store takes

CURSOR = "cursor"
"""Kind of the record; its body is a SubscribeRequest, which is what the cursor is for."""


def cursor_name(subscription_uid: str) -> str:
    """Name of the record that holds how far a subscription is."""
    return f"cursors/{subscription_uid}"


class Follower:
    """Follows one source for one subscription, in one task."""

    def __init__(
        self,
        stores: Stores,
        subscription: Subscription,
        source: ModelSource,
        fence: Fence | None,
        *,
        ids: Ids,
        rng: random.Random,
    ) -> None:
        """fence: under which its status is written."""
        self._fence = fence
        self._stores = stores
        self._resources = Resources(stores.records)
        self._subscription = subscription
        self._source = source
        self._ids = ids
        self._rng = rng
        self._backoff_s = BACKOFF_INITIAL_S
        self._cursor = cursor_name(subscription.uid)
        self._cursor_revision = 0
        self._named: set[str] = set()  # versions that the snapshot under way has named

    async def run(self) -> None:
        """For ever; cancel it to end."""
        while True:
            try:
                await in_own_task(self._session())
            except MeshError as error:
                await self._lost(error)
            await asyncio.sleep(self._rng.uniform(0, self._backoff_s))
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)

    async def _session(self) -> None:
        source = await self._source.activate()
        reporter = Reporter(self._stores, self._subscription.name, self._source)
        await reporter.report()
        sequence = await self._read_cursor()
        await self._connected(source, sequence)
        failures: Sequence[BaseException] = ()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(reporter.run(), name="reporter")
                await self._follow(source, sequence)
        except* MeshError as errors:
            failures = errors.exceptions
        for failure in failures:
            raise failure

    async def _follow(self, source: str, sequence: int) -> None:
        self._named.clear()
        try:
            async with aclosing(self._source.follow(sequence)) as events:
                async for event in events:
                    self._backoff_s = BACKOFF_INITIAL_S
                    await self._take(event)
                    if event.sequence:
                        await self._connected(source, event.sequence)
        except OutOfRange:
            await self._commit(Draft(), cursor=0)  # the next session begins with a snapshot
            raise

    # -- what an event changes

    async def _take(self, event: SubscribeResponse) -> None:
        """Makes one event durable. From the start again where somebody else wrote in between."""
        while True:
            draft = await self._draft(event)
            try:
                await self._commit(draft, cursor=event.sequence or None)
            except RevisionConflict as conflict:
                if conflict.name == self._cursor:
                    raise  # another control plane follows this subscription: read the cursor anew
            else:
                return await self._tell(draft)

    async def _draft(self, event: SubscribeResponse) -> Draft:
        origin = await self._origin()
        draft = Draft()
        try:
            target = Target.of(origin.project, event)
            if event.HasField("version_published") and not event.sequence:
                self._named.add(target.version)
            if event.HasField("snapshot_end"):
                withdraw(draft, origin, await self._versions(origin.project, unless=self._named))
            elif event.HasField("application_withdrawn"):
                withdraw(draft, origin, await self._versions(target.application))
            else:
                return translate(origin, event, target, await self._find(origin.project, target))
        except Invalid as error:  # the source's mistake must be seen, and must not stop what comes after it
            draft.notes.append(Note(self._subscription.name, "SOURCE_EVENT_REFUSED", str(error)))
        return draft

    async def _origin(self) -> Origin:
        own = self._subscription
        others = {stored.message.name async for stored in self._resources.all(SUBSCRIPTION)} - {own.name}
        return Origin(own.name, own.spec.project, clock.now(), self._ids, frozenset(others))

    async def _find(self, project: str, target: Target) -> Found:
        return Found(
            await self._resources.find(PROJECT, project),
            await self._resources.find(APPLICATION, target.application),
            await self._resources.find(MODEL, target.model),
            await self._resources.find(MODEL_VERSION, target.version),
        )

    async def _versions(self, within: str, *, unless: Collection[str] = ()) -> list[Stored[ModelVersion]]:
        everyone = self._resources.all(MODEL_VERSION, f"{within}/")
        return [version async for version in everyone if version.message.name not in unless]

    # -- what is written

    async def _commit(self, draft: Draft, *, cursor: int | None) -> None:
        """The draft and the cursor (None: it stays) in the same commit. Raises RevisionConflict."""
        puts = list(draft.puts.values())
        while len(puts) > COMMIT_PUTS_MAX:  # withdrawals, each good by itself: killed here, the source tells us again
            now, puts = puts[:COMMIT_PUTS_MAX], puts[COMMIT_PUTS_MAX:]
            await self._stores.records.commit(now, expect={put.name: draft.expect[put.name] for put in now})
        expect = {put.name: draft.expect[put.name] for put in puts}
        if cursor is not None:
            puts.append(Put(self._cursor, CURSOR, SubscribeRequest(after_sequence=cursor).SerializeToString()))
            expect[self._cursor] = self._cursor_revision
        if puts:
            revision = await self._stores.records.commit(puts, expect=expect)
            self._cursor_revision = self._cursor_revision if cursor is None else revision

    async def _read_cursor(self) -> int:
        record = await self._stores.records.read(self._cursor)
        self._cursor_revision = record.revision if record else 0
        return SubscribeRequest.FromString(record.body).after_sequence if record else 0

    async def _tell(self, draft: Draft) -> None:
        """Events for people. One that changed nothing is told once, however often the source repeats itself."""
        rows = [
            EventRow(
                time_unix_ms=round(clock.now() * 1000),
                resource=note.resource,
                reason=note.reason,
                message=note.message,
                source="control-plane",
                key="" if note.resource in draft.puts else _key(self._subscription.uid, note),
            )
            for note in draft.notes
        ]
        if rows:
            await self._stores.events.append(rows)

    async def _connected(self, source: str, sequence: int) -> None:
        before = await self._status()
        holds = condition("Connected", True, before.conditions, now=clock.now())
        await self._put_status(SubscriptionStatus(conditions=[holds], sequence=sequence, source=source))

    async def _lost(self, error: MeshError) -> None:
        log.info("source_lost", subscription=self._subscription.name, reason=error.reason, why=error.message)
        status = await self._status()
        judged = failed("Connected", error, status.conditions, now=clock.now())
        del status.conditions[:]
        status.conditions.append(judged)
        await self._put_status(status)

    async def _status(self) -> SubscriptionStatus:
        rows = await self._stores.observed.read(STATUS, [self._subscription.name])
        return SubscriptionStatus.FromString(rows.get(self._subscription.name, b""))

    async def _put_status(self, status: SubscriptionStatus) -> None:
        await self._stores.observed.put([subscription_row(self._subscription.name, status, self._fence)])


def _key(subscription_uid: str, note: Note) -> str:
    told = "\n".join((subscription_uid, note.resource, note.reason, note.message))
    return hashlib.sha256(told.encode()).hexdigest()
