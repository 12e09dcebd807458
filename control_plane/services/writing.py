"""Creating, changing and deleting, as all resources share it.

Every function reads, decides and commits what it decided under the condition that what it read is still so; where it
is not, it begins anew (`retried`). Nothing else than the store's revisions guards against races: there is no lock.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from control_plane.domain.check import check_known
from control_plane.services.kit import Kit, check_etag, retried
from control_plane.services.masks import merged
from control_plane.store import Delete, Put, Record
from control_plane.store.resources import SUBSCRIPTION, Kind, Stored
from waypost import names
from waypost.errors import AlreadyExists, Precondition

M = TypeVar("M", bound=Any)  # resources: every one has name, uid, create_time, update_time and etag


@dataclass(frozen=True, slots=True)
class Guards:
    """What a decision rests on, and what is to be written in the same commit."""

    revisions: Mapping[str, int] = field(default_factory=dict)
    """Name -> revision of the records that were read; a commit fails where one has changed."""
    writes: Sequence[Put | Delete] = ()

    def __or__(self, other: "Guards") -> "Guards":
        return Guards({**self.revisions, **other.revisions}, [*self.writes, *other.writes])


NO_GUARDS = Guards()


@dataclass(frozen=True, slots=True)
class Family(Generic[M]):
    """What writing needs to know of a kind of resource."""

    kind: Kind[M]
    check: Callable[[M], None]
    """Raises Invalid."""
    writable: tuple[str, ...]
    """Paths that people may change; also what an empty mask means."""
    given: tuple[str, ...] = ()
    """Paths that are read when it is created; empty: the writable ones."""
    owner: Kind[Any] | None = None

    @property
    def words(self) -> str:
        return self.kind.kind.replace("_", " ")


async def no_guards(*_: Message) -> Guards:
    return NO_GUARDS


async def nothing() -> str:
    return ""


async def create(
    kit: Kit,
    family: Family[M],
    asked: M,
    name: str,
    *,
    made: Callable[[M], None] = lambda resource: None,
    guard: Callable[[M], Awaitable[Guards]] = no_guards,
    validate_only: bool = False,
) -> M:
    """Writes a new resource, of what was asked for it and of what is made here.

    made: sets what the service itself adds. guard: further checks against other resources; returns what they read, and
    what is to be written along.
    Raises: Invalid, NotFound for the owner, AlreadyExists(<KIND>_EXISTS), and what `guard` raises.
    """
    check_known(asked, family.kind.kind)
    resource = merged(family.kind.message(name=name), asked, (), family.given or family.writable)
    made(resource)
    resource.uid = kit.ids.uuid()
    resource.create_time.CopyFrom(kit.timestamp())
    if "update_time" in resource.DESCRIPTOR.fields_by_name:  # a credential never changes
        resource.update_time.CopyFrom(resource.create_time)
    family.check(resource)

    async def attempt() -> M:
        expect = {resource.name: 0, **await _owner(kit, family, resource.name)}
        if await kit.stores.records.read(resource.name):
            raise _exists(family, resource.name)
        guards = await guard(resource)
        expect.update(guards.revisions)
        return await _put(kit, family, resource, expect, guards.writes, validate_only)

    return await retried(attempt)


async def update(
    kit: Kit,
    family: Family[M],
    request: M,
    paths: Sequence[str],
    *,
    touch: Callable[[M, M], None] = lambda before, after: None,
    guard: Callable[[M, M], Awaitable[Guards]] = no_guards,
    validate_only: bool = False,
) -> tuple[M, M]:
    """Changes the resource `request.name` by what `paths` name; writes nothing where nothing changes.

    touch: called with what was and what will be, to set what follows from the change. guard: further checks against
    other resources; returns what they read.
    Returns what was and what is.
    Raises: NotFound, Invalid, Conflict(ETAG_MISMATCH), Precondition(OWNED_BY_SUBSCRIPTION), and what `guard` raises.
    """
    check_known(request, family.kind.kind)

    async def attempt() -> tuple[M, M]:
        stored = await kit.resources.get(family.kind, request.name)
        before = stored.message
        check_etag(request.etag, before.etag, request.name)
        after = merged(before, request, await _paths(kit, family, before, request, paths), family.writable)
        if after == before:
            return before, after
        await _refuse_owned(kit, family, before, after)
        touch(before, after)
        after.update_time.CopyFrom(kit.timestamp())
        family.check(after)
        guards = await guard(before, after)
        expect = {after.name: stored.revision, **guards.revisions}
        return before, await _put(kit, family, after, expect, guards.writes, validate_only)

    return await retried(attempt)


async def amend(kit: Kit, family: Family[M], name: str, change: Callable[[M], None]) -> M:
    """Sets what people cannot write: `change` gets a copy of the resource. Returns what is. Raises: NotFound."""

    async def attempt() -> M:
        stored = await kit.resources.get(family.kind, name)
        after: M = family.kind.message()
        after.CopyFrom(stored.message)
        change(after)
        if after == stored.message:
            return after
        after.update_time.CopyFrom(kit.timestamp())
        return await _put(kit, family, after, {name: stored.revision}, (), validate_only=False)

    return await retried(attempt)


class UpdateRequest(Protocol):
    """What a request for an update has besides the resource."""

    @property
    def update_mask(self) -> FieldMask: ...

    @property
    def allow_missing(self) -> bool: ...


async def update_or_create(kit: Kit, family: Family[M], asked: M, request: UpdateRequest) -> M:
    """`update`, or where there is nothing to update and the request allows it, `create` (AIP-134)."""
    if request.allow_missing and await kit.resources.find(family.kind, asked.name) is None:
        return await create(kit, family, asked, asked.name)
    _, updated = await update(kit, family, asked, request.update_mask.paths)
    return updated


async def _paths(kit: Kit, family: Family[M], before: M, request: M, paths: Sequence[str]) -> Sequence[str]:
    """For what a subscription owns, no mask means the labels, and else what the request really says."""
    if paths or not await is_owned(kit, before):
        return paths
    return [path for path in family.writable if path == "labels" or getattr(request, path)]


async def delete(
    kit: Kit,
    family: Family[M],
    name: str,
    etag: str,
    *,
    blockers: Callable[[], Awaitable[str]] = nothing,
    along: Callable[[], Awaitable[Sequence[str]]] = nothing,
) -> None:
    """Removes a resource.

    blockers: the name of something that stands against it, else empty. along: names of records that go with it.
    Raises: NotFound, Conflict(ETAG_MISMATCH), Precondition(<KIND>_IN_USE | OWNED_BY_SUBSCRIPTION).
    """

    async def attempt() -> None:
        revision = await kit.stores.records.revision()
        found = await kit.resources.get(family.kind, name)
        check_etag(etag, found.message.etag, name)
        if await is_owned(kit, found.message):
            raise _owned(family, found.message)
        if blocker := await blockers():
            raise _in_use(family, name, blocker)
        going = [name, *await along()]
        await kit.stores.records.commit([Delete(each) for each in going], unchanged_since=revision)

    await retried(attempt)


async def first_below(kit: Kit, name: str, *kinds: Kind[Any]) -> str:
    """Name of one record of these kinds below a resource; empty where there is none."""
    for kind in kinds:
        page = await kit.stores.records.scan(f"{name}/", kind=kind.kind, limit=1)
        if page.records:
            return page.records[0].name
    return ""


async def names_below(kit: Kit, name: str, kind: Kind[Any]) -> list[str]:
    """All records of a kind below a resource."""
    return [stored.message.name async for stored in kit.resources.all(kind, f"{name}/")]


async def is_owned(kit: Kit, resource: Message) -> bool:
    """Whether a subscription fills it: then it is the source's to change. One that is followed no more owns nothing."""
    subscription = getattr(resource, "subscription", "")
    return bool(subscription) and await kit.resources.find(SUBSCRIPTION, subscription) is not None


async def _refuse_owned(kit: Kit, family: Family[M], before: M, after: M) -> None:
    if not await is_owned(kit, before):
        return
    rest = family.kind.message()
    rest.CopyFrom(after)
    rest.labels.clear()
    rest.labels.update(before.labels)
    if rest != before:
        raise _owned(family, before)


async def _owner(kit: Kit, family: Family[M], name: str) -> Mapping[str, int]:
    if family.owner is None:
        return {}
    owner: Stored[Any] = await kit.resources.get(family.owner, names.parent(name))
    return {owner.message.name: owner.revision}


async def _put(
    kit: Kit,
    family: Family[M],
    resource: M,
    expect: Mapping[str, int],
    along: Sequence[Put | Delete],
    validate_only: bool,
) -> M:
    put = family.kind.encode(resource.name, resource)
    if validate_only:
        resource.ClearField("etag")
        return resource
    revision = await kit.stores.records.commit([put, *along], expect=expect)
    return family.kind.decode(Record(put.name, put.kind, revision, put.body))


def _exists(family: Family[M], name: str) -> AlreadyExists:
    hint = "choose another id, or update the one that is there"
    reason = f"{family.kind.kind.upper()}_EXISTS"
    return AlreadyExists(reason, f"there is a {family.words} {names.short(name)!r} already", hint, name=name)


def _in_use(family: Family[M], name: str, blocker: str) -> Precondition:
    return Precondition(
        f"{family.kind.kind.upper()}_IN_USE",
        f"{family.words} {names.short(name)!r} cannot go while {names.short(blocker)!r} is there",
        f"delete {blocker} first",
        name=name,
        blocker=blocker,
    )


def _owned(family: Family[M], resource: M) -> Precondition:
    return Precondition(
        "OWNED_BY_SUBSCRIPTION",
        f"{family.words} {names.short(resource.name)!r} is read-only but for labels: {resource.subscription} fills it",
        "change it in the training platform, or delete the subscription first",
        name=resource.name,
        subscription=resource.subscription,
    )
