"""Records of some kinds in memory, equal to the store as of a revision.

Whoever must look at all positions or all versions whenever one of them changes keeps a mirror: it reads everything
once and from then on only what changed. A mirror never waits; its owner decides when to refresh:

    async for revision in store.watch(0):
        changed = await mirror.refresh(revision)
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from control_plane.store.base import Record, Store, TooOld
from control_plane.store.resources import Kind, Stored

M = TypeVar("M", bound=Message)


class Mirror:
    """For one task. Messages are shared: nobody may change them."""

    def __init__(self, store: Store, *kinds: Kind[Any]) -> None:
        self._store = store
        self._kinds = {kind.kind: kind for kind in kinds}
        self._stored: dict[str, dict[str, Stored[Message]]] = {}
        self.revision = 0
        """How far the mirror goes."""

    def of(self, kind: Kind[M]) -> Mapping[str, Stored[M]]:
        """All of one kind, by name."""
        return cast(Mapping[str, Stored[M]], self._stored.get(kind.kind, {}))

    async def refresh(self, revision: int) -> set[str]:
        """Goes at least to `revision`; returns the names of what changed or went since the last refresh."""
        if not self._stored:
            return await self._read_all()
        changed: set[str] = set()
        while self.revision < revision:
            try:
                changed |= await self._read_changes()
            except TooOld:
                return changed | await self._read_all()
        return changed

    async def _read_changes(self) -> set[str]:
        changes = await self._store.changes(self.revision)
        for record in changes.records:
            self._take(record)
        for gone in changes.deleted:
            self._stored.get(gone.kind, {}).pop(gone.name, None)
        self.revision = changes.revision
        records = {record.name for record in changes.records if record.kind in self._kinds}
        return records | {gone.name for gone in changes.deleted if gone.kind in self._kinds}

    async def _read_all(self) -> set[str]:
        """May see commits after the revision it begins with: they are only read once more then.

        What was held is replaced when all is read: a store that is busy in the middle must not leave half of it.
        """
        before = {name for stored in self._stored.values() for name in stored}
        revision = await self._store.revision()
        self._stored = {name: await self._read_kind(kind) for name, kind in self._kinds.items()}
        self.revision = revision
        return before.union(*self._stored.values())

    async def _read_kind(self, kind: Kind[Any]) -> dict[str, Stored[Message]]:
        stored: dict[str, Stored[Message]] = {}
        after, more = "", True
        while more:
            page = await self._store.scan("", kind=kind.kind, after=after)
            stored.update((record.name, Stored(kind.decode(record), record.revision)) for record in page.records)
            after, more = page.after, bool(page.after)
        return stored

    def _take(self, record: Record) -> None:
        kind = self._kinds.get(record.kind)
        if kind is not None:
            self._stored[record.kind][record.name] = Stored(kind.decode(record), record.revision)
