"""What every store promises: narrow on purpose, etcd's shape and not an ORM's.

Small seams over one database:

* `Store`: desired state. Named records of bytes; a commit is all-or-nothing and takes the next revision, and no
  reader ever sees revision 8 before revision 7. Deletions leave tombstones, so that whoever watches learns of them;
  who was away for longer than the tombstones are kept hears `TooOld` and reads everything again.
* `ObservedStore`: what is, as reported from below. One row per (kind, name), the latest wins, no revisions. Its rows
  carry a sequence of their own, by which a watcher finds those that changed.
* `EventStore`: a bounded list of what happened, for people.
* `AuditStore`: a bounded list of who changed what.
* `MinuteStore`: metrics by the minute, kept for a day.
* `Claims`: who of several control planes works at what, numbered, so that who was overtaken can be kept from writing.
* `Roster`: which control planes there are.
* `Facts`: what they must agree on.

What the bytes mean is `resources.py` (and, for observed rows, `observed_rows.py`): adding a resource never touches a
store. Waking (`watch`) only says "look again": it may be late, early or once for many commits. Reads are the truth.

Text that people wrote, or somebody far away, is brought into a form that every database takes (`text.py`): names are
ASCII and have at most a thousand bytes, all else is mended and cut. What no name can be is not found.

Errors that any method may raise: Unavailable(STORE_BUSY | STORE_UNREACHABLE), Exhausted(DISK_FULL) and
DataLoss(STORE_DAMAGED). Nothing was written then; trying again is safe. Whoever writes under a name that is none hears
Invalid(BAD_KEY), and nobody else does.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from waypost.errors import Conflict, OutOfRange

SCAN_LIMIT = 500  # records per page: about a megabyte of positions
COMMIT_CHANGES_MAX = 1000  # a commit holds the write lock; a thousand rows take about 30 ms on SQLite
UNCONDITIONAL: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Record:
    """A named value as of `revision`, the commit that wrote it."""

    name: str
    kind: str
    revision: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record, whether or not it exists."""

    name: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record; what does not exist stays away."""

    name: str


@dataclass(frozen=True, slots=True)
class Page:
    """Records by rising name. `after` continues the scan; empty on the last page."""

    records: tuple[Record, ...]
    after: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record that was deleted in `revision` and has not come back since."""

    name: str
    kind: str
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the records between two revisions, each in its newest form only.

    revision: how far this goes; continue from here. May be short of the newest: then ask again at once.
    """

    revision: int
    records: tuple[Record, ...]
    deleted: tuple[Tombstone, ...]


class RevisionConflict(Conflict):
    """Somebody else wrote in between; nothing was written."""

    def __init__(self, name: str, expected: int, actual: int) -> None:
        super().__init__(
            "REVISION_CONFLICT",
            f"{name} is at revision {actual}, not {expected}: somebody else changed it",
            "read it again, then repeat the change",
            name=name,
        )
        self.name, self.expected, self.actual = name, expected, actual


class TooOld(OutOfRange):
    """Tombstones are no longer kept back to the revision asked for: read everything again."""

    def __init__(self, since: int, kept_since: int) -> None:
        super().__init__(
            "TOO_OLD",
            f"deletions are known since revision {kept_since}, and {since} lies before it",
            "start over from a snapshot",
        )


class Store(Protocol):
    """Revisioned records. revision: strictly rising, 0 = nothing was ever committed."""

    @property
    def incarnation(self) -> str:
        """UUID4 of this store's numbering; another one after a restore from backup."""

    async def revision(self) -> int:
        """The newest commit."""

    async def read(self, name: str) -> Record | None: ...

    async def read_many(self, names: Collection[str]) -> dict[str, Record]:
        """Those of `names` that exist."""

    async def scan(self, prefix: str, *, kind: str = "", limit: int = SCAN_LIMIT, after: str = "") -> Page:
        """Records whose name begins with `prefix` (give the slash) and, unless empty, of one kind."""

    async def commit(
        self,
        changes: Sequence[Put | Delete],
        *,
        expect: Mapping[str, int] = UNCONDITIONAL,
        unchanged_since: int | None = None,
    ) -> int:
        """Apply `changes`, all or nothing; returns the new revision. At most one change per name.

        expect: name -> revision that the caller last read (0 = must not exist). Names that are not changed may be
        expected too: that is how a check of one record guards the write of another.
        unchanged_since: the revision of the whole store that the caller looked at, where what it looked at was that
        something does *not* exist ("no position names this edge server"). For rare commits: any other one conflicts.
        Raises: RevisionConflict.
        """

    async def changes(self, since: int) -> Changes:
        """What differs from revision `since`. Raises: TooOld."""

    def watch(self, since: int) -> AsyncIterator[int]:
        """Yields revisions > since as they appear, and skips when they come fast: "look again"."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A claim and the number under which the writer holds it."""

    claim: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ObservedRow:
    """fence: the row is left alone where this claim has another number by now: whoever holds it tells what is."""

    kind: str
    name: str
    body: bytes
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class ObservedChanges:
    """sequence: how far this goes; continue from here. May be short of the newest: then ask again at once.

    deleted: (kind, name) of rows that are no more.
    """

    sequence: int
    rows: tuple[ObservedRow, ...]
    deleted: tuple[tuple[str, str], ...] = ()


class ObservedStore(Protocol):
    """Observed state: one row per (kind, name), the latest wins: what a process gave later, also while what it gave
    before is still being written.

    Deletions are told to whoever is not more than some ten thousand of them behind; there is no `TooOld` here.
    """

    async def put(self, rows: Sequence[ObservedRow]) -> None:
        """Write rows; one whose body is what is stored already is left alone and wakes nobody."""

    async def delete(self, kind: str, names: Collection[str], *, fence: Fence | None = None) -> None:
        """Remove rows; what does not exist stays away, and all of them stay where the fence is overtaken."""

    async def read(self, kind: str, names: Collection[str]) -> dict[str, bytes]:
        """Bodies of those that exist, by name."""

    async def scan(self, kind: str, prefix: str = "") -> Sequence[ObservedRow]:
        """All rows of a kind whose name begins with `prefix`, by rising name."""

    async def sequence(self) -> int:
        """Number of the newest change."""

    async def changes(self, since: int) -> ObservedChanges:
        """Rows that changed after sequence `since`, oldest change first."""

    def watch(self, since: int) -> AsyncIterator[int]:
        """Yields sequences > since as they appear, and skips when they come fast."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened. `id` is given by the store (0 before); it rises.

    Texts that are too long are cut.

    key: set where the event may arrive twice (from a link); a second one with the same key is dropped.
    """

    time_unix_ms: int
    resource: str
    reason: str
    message: str
    source: str
    key: str = ""
    id: int = 0


class EventStore(Protocol):
    async def append(self, events: Sequence[EventRow]) -> None:
        """Add events; the oldest beyond the bound are forgotten."""

    async def newest(self, resource: str = "", *, limit: int = 100, before: int = 0) -> Sequence[EventRow]:
        """Newest first: of `resource` and of what it owns (empty = all), with ids below `before` (0 = from the top)."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A call that changed something, or was refused; fields as in AuditEntry. `id` is given by the store (0 before).

    Texts that are too long are cut.
    """

    time_unix_ms: int
    subject: str
    credential: str
    peer: str
    method: str
    resource: str
    code: str
    reason: str
    request: str
    failed: bool
    id: int = 0


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows; an empty field means all. method: with or without its service."""

    resource: str = ""
    """Of this and of what it owns."""
    subject: str = ""
    method: str = ""
    failed_only: bool = False
    since_ms: int = 0
    until_ms: int = 0


class AuditStore(Protocol):
    async def append(self, row: AuditRow) -> None:
        """Add one; the oldest beyond the bounds are forgotten, what was refused before what was done."""

    async def newest(self, wanted: AuditFilter, *, limit: int = 100, before: int = 0) -> Sequence[AuditRow]:
        """Newest first, with ids below `before` (0 = from the top)."""


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """What one position did in one minute. minute: Unix time / 60, rounded down, on the control plane's clock.

    body: a serialized control.v1.PositionMetrics.
    """

    name: str
    minute: int
    body: bytes


Merge = Callable[[bytes, bytes], bytes]
"""What two rows of one minute are together: a position may have been heard by two control planes in it."""


class MinuteStore(Protocol):
    async def append(self, rows: Sequence[MinuteRow], *, now_s: float, merge: Merge) -> None:
        """Add minutes to what is there; those older than a day before `now_s` are forgotten."""

    async def query(self, name: str, *, since_minute: int, until_minute: int) -> Sequence[MinuteRow]:
        """Minutes of one position in [since, until), oldest first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """holder: `Peer.run` of who works at `name`, or did last. epoch: rises with each change of hands."""

    name: str
    holder: str
    epoch: int


class Claims(Protocol):
    """Who works at what. A claim says who *may* write (`Fence`), not who lives: that is for others to judge."""

    async def take(self, name: str, holder: str, *, above: int = 0) -> int:
        """`holder` holds it from now on, whoever did before. Returns its number: above all before, and `above`."""

    async def take_over(self, seen: Mapping[str, Claim | None], holder: str) -> dict[str, int]:
        """The same for claims that are as they were seen, by name (None: nobody holds it). Returns their numbers."""

    async def read(self, names: Collection[str]) -> dict[str, Claim]:
        """Those that somebody holds or held."""

    async def held_by(self, holder: str) -> dict[str, int]:
        """Name -> number."""

    async def drop(self, names: Collection[str]) -> None:
        """Forgets claims on what is no more. Their numbers are not given again."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One control plane.

    id: of its data directory, so that the next process there is known to replace this one. run: of the process.
    address: `host:port` of its link as its peers reach it; link_address: as agents do.
    """

    id: str
    run: str
    address: str
    link_address: str
    version: str
    beats: int = 0


class Roster(Protocol):
    """The control planes on this store, dead ones for a while among them."""

    async def join(self, peer: Peer) -> None:
        """In the place of whoever had this id."""

    async def beat(self, peer: Peer) -> bool:
        """A sign of life. False where another process has the row now, or nobody: it was given up."""

    async def all(self) -> Sequence[Peer]: ...

    async def remove(self, peer: Peer) -> bool:
        """Where it has not given a sign of life since `peer` was read. False: it has."""


class Facts(Protocol):
    async def keep(self, key: str, value: str) -> str:
        """What is kept under `key`: `value` where it was nothing. Of several who ask at once one is first."""

    async def change(self, key: str, value: str) -> None:
        """What is kept under `key`, from now on."""

    async def read(self, key: str) -> str:
        """Empty where nothing is kept."""
