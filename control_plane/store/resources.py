"""Typed records: the resources of waypost.api.control.v1 over a `Store`.

A resource's record is its serialized message as people wrote it: desired state, without `status` (observed rows hold
that; services merge it on read) and without `etag` (made from the revision on read). Adding a resource is one line in
the table below.

Besides resources the store holds records that no API shows:

* one per edge server, its desired state as last planned (`desired_name`). Its body is a waypost.api.link.v1.Desired
  with `upserts` by rising name; the record's revision is the version that the agent acknowledges;
* one per user, the hash of the password (`password_name`), apart so that no method can return it by mistake;
* one per project with a quota, what its positions used when one of them last changed (`used_name`). Nobody reads it for
  that: each commit that takes of a quota writes it, so that of two at the same time one conflicts.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from control_plane.store.base import SCAN_LIMIT, Put, Record, Store
from waypost import names
from waypost.api.control.v1 import (
    application_pb2,
    credential_pb2,
    edge_server_pb2,
    model_pb2,
    position_pb2,
    project_pb2,
    role_binding_pb2,
    subscription_pb2,
    user_pb2,
)
from waypost.api.link.v1 import link_pb2
from waypost.errors import NotFound

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """One type of record: how it is called in the store, and the message that its body is."""

    kind: str
    message: type[M]

    def decode(self, record: Record) -> M:
        """The resource with its etag."""
        assert record.kind == self.kind, f"{record.name} is a {record.kind}, not a {self.kind}"
        message = self.message.FromString(record.body)
        if "etag" in self.message.DESCRIPTOR.fields_by_name:
            message.etag = etag(record.revision)  # type: ignore[attr-defined]
        return message

    def encode(self, name: str, message: M) -> Put:
        """The change that writes `message`; what is never stored is left out."""
        stored = self.message()
        stored.CopyFrom(message)
        for field in ("status", "etag"):
            if field in self.message.DESCRIPTOR.fields_by_name:
                stored.ClearField(field)
        return Put(name, self.kind, stored.SerializeToString(deterministic=True))


PROJECT = Kind("project", project_pb2.Project)
APPLICATION = Kind("application", application_pb2.Application)
MODEL = Kind("model", model_pb2.Model)
MODEL_VERSION = Kind("model_version", model_pb2.ModelVersion)
POSITION = Kind("position", position_pb2.Position)
EDGE_SERVER = Kind("edge_server", edge_server_pb2.EdgeServer)
CREDENTIAL = Kind("credential", credential_pb2.Credential)
SUBSCRIPTION = Kind("subscription", subscription_pb2.Subscription)
USER = Kind("user", user_pb2.User)
PASSWORD = Kind("password", wrappers_pb2.StringValue)
SESSION = Kind("session", credential_pb2.Credential)
ROLE_BINDING = Kind("role_binding", role_binding_pb2.RoleBinding)
USED = Kind("used", project_pb2.ResourceAmounts)
DESIRED = Kind("desired", link_pb2.Desired)

WATCHED: dict[str, Kind[Any]] = {
    kind.kind: kind for kind in (PROJECT, APPLICATION, MODEL, MODEL_VERSION, POSITION, EDGE_SERVER, SUBSCRIPTION)
}
"""What WatchService shows, in the order of its snapshot: owners before what they own."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[M]):
    """A resource and the revision that its next write expects."""

    message: M
    revision: int


class Resources:
    """Typed reads. Writes go through `Kind.encode` and `Store.commit`, so that several may share one commit."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def find(self, kind: Kind[M], name: str) -> Stored[M] | None:
        """The resource, or None where it does not exist or is of another kind."""
        record = await self.store.read(name)
        return Stored(kind.decode(record), record.revision) if record and record.kind == kind.kind else None

    async def get(self, kind: Kind[M], name: str) -> Stored[M]:
        """Raises: NotFound(<KIND>_NOT_FOUND)."""
        if found := await self.find(kind, name):
            return found
        raise not_found(kind, name)

    async def find_many(self, kind: Kind[M], wanted: Collection[str]) -> dict[str, M]:
        """Those of `wanted` that exist."""
        records = await self.store.read_many(wanted)
        return {name: kind.decode(record) for name, record in records.items() if record.kind == kind.kind}

    async def all(self, kind: Kind[M], prefix: str = "") -> AsyncIterator[Stored[M]]:
        """Every resource of a kind whose name begins with `prefix`, by rising name, page by page."""
        after = ""
        while True:
            page = await self.store.scan(prefix, kind=kind.kind, limit=SCAN_LIMIT, after=after)
            for record in page.records:
                yield Stored(kind.decode(record), record.revision)
            if not (after := page.after):
                return


def not_found(kind: Kind[M], name: str) -> NotFound:
    words = kind.kind.replace("_", " ")
    return NotFound(f"{kind.kind.upper()}_NOT_FOUND", f"there is no {words} {names.short(name)!r}", name=name)


def etag(revision: int) -> str:
    """Opaque to callers; equal exactly when the record is the same."""
    return f"r{revision:x}"


def desired_name(edge_server: str) -> str:
    """Name of the record that holds the desired state of `edgeServers/{edge_server}`."""
    return f"desired/{edge_server}"


def password_name(user: str) -> str:
    """Name of the record that holds the argon2id hash of `users/{user}`, in PHC's string format."""
    return f"{user}/password"


def used_name(project: str) -> str:
    """Name of the record that commits which take of the quota of `projects/{project}` write."""
    return f"used/{project}"


def encode_desired(edge_server: str, items: Iterable[link_pb2.Item]) -> Put:
    """The change that writes an edge server's desired state."""
    upserts = sorted(items, key=lambda item: item.name)
    return DESIRED.encode(desired_name(edge_server), link_pb2.Desired(upserts=upserts))
