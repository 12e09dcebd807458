"""All credentials by the hash of their secret, and all grants by their subject: in memory, so that judging a call reads
no database.

Secrets are 256 random bits of which only the sha256 is kept, so a lookup by hash is all that it takes; there is nothing
to guess and nothing to slow down. What is held is looked at again as soon as the store has moved on, so that a revoked
credential or grant is good for at most `store.open.POLL_S` longer, wherever it was revoked.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

from control_plane.access.roles import Grants, project_of
from control_plane.store import Changes, Stores, TooOld
from control_plane.store.resources import CREDENTIAL, ROLE_BINDING, SESSION, Kind, Resources
from waypost import names
from waypost.api.control.v1.credential_pb2 import (
    CREDENTIAL_KIND_API,
    CREDENTIAL_KIND_APPLICATION,
    CREDENTIAL_KIND_JOIN,
    CREDENTIAL_KIND_SESSION,
    Credential,
    CredentialKind,
)
from waypost.api.control.v1.role_binding_pb2 import RoleBinding
from waypost.api.control.v1.role_pb2 import Role
from waypost.errors import Denied, Unauthenticated

M = TypeVar("M", bound=Any)  # messages with a name

_USES = {
    CREDENTIAL_KIND_API: "to call the control plane",
    CREDENTIAL_KIND_APPLICATION: "for xApps at a position",
    CREDENTIAL_KIND_JOIN: "to enrol an edge server's agent",
    CREDENTIAL_KIND_SESSION: "of a person who logged in",
}

LOG_IN = "send the metadata `authorization: Bearer <token>`; with the command line, log in or choose another context"


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Secrets:
    """All credentials and grants. Ask the store for news with `match`; `grants_of` answers from what that has read."""

    def __init__(self, stores: Stores, now: Callable[[], float]) -> None:
        self._stores = stores
        self._resources = Resources(stores.records)
        self._now = now
        self._credentials = _Held[Credential](CREDENTIAL, _hash_of)
        self._sessions = _Held[Credential](SESSION, _hash_of)
        self._bindings = _Held[RoleBinding](ROLE_BINDING, lambda binding: binding.subject)
        self._revision = -1
        """How far what is held goes; -1: nothing was read yet."""

    async def match(self, secret: str, *kinds: CredentialKind.ValueType) -> Credential:
        """The credential that `secret` belongs to. Raises: Unauthenticated, Denied(WRONG_CREDENTIAL_KIND)."""
        await self.refresh()
        digest = sha256(secret)
        found = next(chain(self._credentials.under(digest), self._sessions.under(digest)), None)
        if found is None or not hmac.compare_digest(found.secret_sha256, digest):
            raise Unauthenticated("CREDENTIAL_UNKNOWN", "this token is not known here, or was revoked", LOG_IN)
        if found.HasField("expire_time") and found.expire_time.ToMilliseconds() <= self._now() * 1000:
            message = f"credential {found.name} expired at {found.expire_time.ToJsonString()}"
            hint = "create a new one, or log in again"
            raise Unauthenticated("CREDENTIAL_EXPIRED", message, hint, credential=found.name)
        if found.kind not in kinds:
            message = f"credential {found.name} is {_USES[found.kind]}, not {_USES[kinds[0]]}"
            raise Denied("WRONG_CREDENTIAL_KIND", message, "use another one", credential=found.name)
        return found

    def grants_of(self, *subjects: str, own: Credential | None = None) -> Grants:
        """What role bindings grant to these subjects, and the credential itself carries."""
        granted: list[tuple[str, Role.ValueType]] = [
            (names.parent(binding.name), binding.role)
            for subject in subjects
            for binding in self._bindings.under(subject)
        ]
        if own is not None:
            granted.append((project_of(own.name), own.role))
        return Grants.of(granted)

    async def refresh(self) -> None:
        """Reads what has changed in the store, if anything has."""
        if self._revision < 0:
            await self._read_all()
        while self._revision < self._stores.known_revision:
            try:
                await self._read_changes()
            except TooOld:
                await self._read_all()

    async def _read_all(self) -> None:
        revision = await self._stores.records.revision()
        credentials = await self._credentials.read(self._resources)
        sessions = await self._sessions.read(self._resources)
        bindings = await self._bindings.read(self._resources)
        self._credentials.replace(credentials)
        self._sessions.replace(sessions)
        self._bindings.replace(bindings)
        self._revision = revision

    async def _read_changes(self) -> None:
        since = self._revision
        changes = await self._stores.records.changes(since)
        if since != self._revision:
            return  # another call was faster; what it learnt must not be taken back
        self._credentials.apply(changes)
        self._sessions.apply(changes)
        self._bindings.apply(changes)
        self._revision = changes.revision


def _hash_of(credential: Credential) -> str:
    return credential.secret_sha256


class _Held(Generic[M]):
    """Records of one kind, found by name and by a key of theirs that several may share."""

    def __init__(self, kind: Kind[M], key: Callable[[M], str]) -> None:
        self._kind = kind
        self._key = key
        self._by_name: dict[str, M] = {}
        self._by_key: dict[str, dict[str, M]] = {}

    def under(self, key: str) -> Iterator[M]:
        return iter(self._by_key.get(key, {}).values())

    async def read(self, resources: Resources) -> list[M]:
        return [stored.message async for stored in resources.all(self._kind)]

    def replace(self, everything: Iterable[M]) -> None:
        self._by_name, self._by_key = {}, {}
        for message in everything:
            self._put(message)

    def apply(self, changes: Changes) -> None:
        for gone in changes.deleted:
            self._remove(gone.name)
        for record in changes.records:
            if record.kind == self._kind.kind:
                self._remove(record.name)
                self._put(self._kind.decode(record))

    def _put(self, message: M) -> None:
        self._by_name[message.name] = message
        self._by_key.setdefault(self._key(message), {})[message.name] = message

    def _remove(self, name: str) -> None:
        message = self._by_name.pop(name, None)
        if message is not None:
            same = self._by_key[self._key(message)]
            del same[name]
            if not same:
                del self._by_key[self._key(message)]
