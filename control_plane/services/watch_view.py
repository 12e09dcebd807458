"""What one watcher has been shown, and what is news to it.

The view remembers a digest of each resource as last sent. Waking says "look": the view then asks the store which
records and observed rows differ from where it stands, works out which resources look different by that (a position
shows things of its edge server and its model version, a project what its positions use), reads those as they are now,
and sends the ones whose digest is another. So nothing is sent twice, nothing is missed, and what changes fast is
skipped over.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from control_plane.access import caller
from control_plane.services.kit import Kit
from control_plane.services.statuses import (
    servers_of,
    with_edge_server_status,
    with_position_status,
    with_project_status,
    with_subscription_status,
)
from control_plane.store import TooOld
from control_plane.store import observed_rows as rows
from control_plane.store.resources import EDGE_SERVER, POSITION, PROJECT, SUBSCRIPTION, WATCHED, Kind
from waypost import names
from waypost.api.control.v1.watch_pb2 import WatchResponse

BATCH = 200  # resources read at once: some hundred kilobytes

_STATUS: dict[str, Callable[[Kit, Sequence[Any]], Awaitable[object]]] = {
    PROJECT.kind: with_project_status,
    POSITION.kind: with_position_status,
    EDGE_SERVER.kind: with_edge_server_status,
    SUBSCRIPTION.kind: with_subscription_status,
}


class View:
    """names: full names of resources or what owns them; empty means all."""

    def __init__(self, kit: Kit, names: Sequence[str]) -> None:
        self._kit = kit
        self._names = tuple(names)
        self._sent: dict[str, bytes] = {}
        self._shown_by: dict[str, frozenset[str]] = {}
        """Position -> names of what its status shows."""
        self.revision = 0
        self.sequence = 0

    async def snapshot(self) -> AsyncIterator[WatchResponse]:
        """Everything, owners first. What changes meanwhile is in `changes` again."""
        self.sequence = await self._kit.stores.observed.sequence()
        self.revision = await self._kit.stores.records.revision()
        for kind in WATCHED.values():
            for prefix in self._prefixes():
                async for batch in self._batches(kind, prefix):
                    async for response in self._show(kind, batch):
                        yield response

    async def changes(self) -> AsyncIterator[WatchResponse]:
        """What looks different since the last call."""
        try:
            changes = await self._kit.stores.records.changes(self.revision)
        except TooOld:
            async for response in self._start_over():
                yield response
            return
        observed = await self._kit.stores.observed.changes(self.sequence)
        touched = {record.name for record in changes.records} | {gone.name for gone in changes.deleted}
        touched |= {_project(record.name) for record in changes.records if record.kind == POSITION.kind}
        touched |= {_project(gone.name) for gone in changes.deleted if gone.kind == POSITION.kind}
        touched |= {_resource(row.kind, row.name) for row in observed.rows}
        touched |= {_resource(kind, name) for kind, name in observed.deleted}
        self.revision, self.sequence = changes.revision, observed.sequence
        for gone in changes.deleted:
            if self._sent.pop(gone.name, None):
                self._shown_by.pop(gone.name, None)
                yield WatchResponse(revision=self.revision, deleted=gone.name)
        async for response in self._look_at(touched | self._dependents(touched)):
            yield response

    async def _start_over(self) -> AsyncIterator[WatchResponse]:
        """Deletions are no longer known: whatever a new snapshot does not find is gone."""
        before = set(self._sent)
        found: set[str] = set()
        for kind in WATCHED.values():
            for prefix in self._prefixes():
                found |= {stored.message.name async for stored in self._kit.resources.all(kind, prefix)}
        async for response in self.snapshot():
            yield response
        for name in sorted(before - found):
            self._sent.pop(name, None)
            self._shown_by.pop(name, None)
            yield WatchResponse(revision=self.revision, deleted=name)

    async def _look_at(self, names: Iterable[str]) -> AsyncIterator[WatchResponse]:
        records = await self._kit.stores.records.read_many({name for name in names if self._is_wanted(name)})
        for kind in WATCHED.values():
            found = [kind.decode(record) for record in records.values() if record.kind == kind.kind]
            for start in range(0, len(found), BATCH):
                async for response in self._show(kind, found[start : start + BATCH]):
                    yield response

    async def _show(self, kind: Kind[Any], resources: Sequence[Any]) -> AsyncIterator[WatchResponse]:
        """Those of the resources that look different from what was sent."""
        if with_status := _STATUS.get(kind.kind):
            await with_status(self._kit, resources)
        for resource in resources:
            digest = _digest(resource)
            if self._sent.get(resource.name) == digest:
                continue
            self._sent[resource.name] = digest
            if kind.kind == POSITION.kind:
                self._shown_by[resource.name] = frozenset((*servers_of(resource), resource.spec.model_version))
            yield WatchResponse(revision=self.revision, **{kind.kind: resource})

    async def _batches(self, kind: Kind[Any], prefix: str) -> AsyncIterator[list[Any]]:
        batch: list[Any] = []
        async for stored in self._kit.resources.all(kind, prefix):
            if self._is_wanted(stored.message.name):
                batch.append(stored.message)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _dependents(self, touched: set[str]) -> set[str]:
        return {position for position, shown in self._shown_by.items() if not shown.isdisjoint(touched)}

    def _prefixes(self) -> tuple[str, ...]:
        """What to scan for; a name itself and what it owns begin alike."""
        outermost = [name for name in self._names if not any(_owns(other, name) for other in self._names)]
        return tuple(dict.fromkeys(outermost)) or ("",)

    def _is_wanted(self, name: str) -> bool:
        named = not self._names or any(name == wanted or _owns(wanted, name) for wanted in self._names)
        return named and caller().sees(name)


def _owns(owner: str, name: str) -> bool:
    return name.startswith(f"{owner}/")


def _resource(kind: str, name: str) -> str:
    """The resource that an observed row is about."""
    return rows.split_report_name(name)[1] if kind == rows.POSITION_REPORT else name


def _project(position: str) -> str:
    """Its project shows what positions use."""
    return names.parent(names.parent(position))


def _digest(resource: Message) -> bytes:
    return hashlib.sha256(resource.SerializeToString(deterministic=True)).digest()
