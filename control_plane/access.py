"""Who may do what on the API's port: one function that judges every call, and refuses what it does not know.

A caller proves itself with `authorization: Bearer wp1_...`. Secrets are 256 random bits of which only the sha256 is
kept, so a lookup by hash is all that it takes; there is nothing to guess and nothing to slow down. All hashes are held
in memory, and looked at again as soon as the store has moved on, so that a revoked credential is good for at most
`store.open.POLL_S` longer, wherever it was revoked.

    control.v1.*, reflection      credentials of kind API
    link.v1.EnrolmentService      open: a token or a proof of the old key is inside the request
    everything else               refused

Agents come in on another port and are known by their certificate (`fleet`).
"""

import hashlib
import hmac
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from control_plane.store import Stores, TooOld
from control_plane.store.resources import CREDENTIAL, Resources
from waypost.api.control.v1.credential_pb2 import (
    CREDENTIAL_KIND_API,
    CREDENTIAL_KIND_APPLICATION,
    CREDENTIAL_KIND_JOIN,
    Credential,
    CredentialKind,
)
from waypost.errors import Denied, Unauthenticated

API = ("/waypost.api.control.v1.", "/grpc.reflection.")
OPEN = frozenset(
    (
        "/waypost.api.link.v1.EnrolmentService/Enrol",
        "/waypost.api.link.v1.EnrolmentService/Renew",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    )
)

_USES = {
    CREDENTIAL_KIND_API: "to call the control plane",
    CREDENTIAL_KIND_APPLICATION: "for xApps at a position",
    CREDENTIAL_KIND_JOIN: "to enrol an edge server's agent",
}

_LOG_IN = "send the metadata `authorization: Bearer <token>`; with the command line, choose a context that has one"

_caller: ContextVar[str] = ContextVar("caller", default="")


def caller() -> str:
    """Full name of the credential that the current call came with; empty outside of an authorised call."""
    return _caller.get()


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Secrets:
    """All credentials, by the hash of their secret."""

    def __init__(self, stores: Stores, now: Callable[[], float]) -> None:
        self._stores = stores
        self._resources = Resources(stores.records)
        self._now = now
        self._by_hash: dict[str, Credential] = {}
        self._revision = -1
        """How far `_by_hash` goes; -1: nothing was read yet."""

    async def match(self, secret: str, kind: CredentialKind.ValueType) -> Credential:
        """The credential that `secret` belongs to. Raises: Unauthenticated, Denied(WRONG_CREDENTIAL_KIND)."""
        await self._refresh()
        digest = sha256(secret)
        found = self._by_hash.get(digest)
        if found is None or not hmac.compare_digest(found.secret_sha256, digest):
            raise Unauthenticated("CREDENTIAL_UNKNOWN", "this token is not known here, or was revoked", _LOG_IN)
        if found.HasField("expire_time") and found.expire_time.ToMilliseconds() <= self._now() * 1000:
            message = f"credential {found.name} expired at {found.expire_time.ToJsonString()}"
            raise Unauthenticated("CREDENTIAL_EXPIRED", message, "create a new one", credential=found.name)
        if found.kind != kind:
            message = f"credential {found.name} is {_USES[found.kind]}, not {_USES[kind]}"
            raise Denied("WRONG_CREDENTIAL_KIND", message, "use another one", credential=found.name)
        return found

    async def _refresh(self) -> None:
        if self._revision < 0:
            await self._read_all()
        while self._revision < self._stores.known_revision:
            try:
                await self._read_changes()
            except TooOld:
                await self._read_all()

    async def _read_all(self) -> None:
        revision = await self._stores.records.revision()
        everything = [stored.message async for stored in self._resources.all(CREDENTIAL)]
        self._by_hash = {credential.secret_sha256: credential for credential in everything}
        self._revision = revision

    async def _read_changes(self) -> None:
        since = self._revision
        changes = await self._stores.records.changes(since)
        if since != self._revision:
            return  # another call was faster; what it learnt must not be taken back
        fresh = [CREDENTIAL.decode(record) for record in changes.records if record.kind == CREDENTIAL.kind]
        touched = {gone.name for gone in changes.deleted} | {credential.name for credential in fresh}
        if fresh or touched:
            kept = {digest: held for digest, held in self._by_hash.items() if held.name not in touched}
            self._by_hash = kept | {credential.secret_sha256: credential for credential in fresh}
        self._revision = changes.revision


class Access:
    """`authorise` goes to `mesh.serve.grpc_server`."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def authorise(self, method: str, context: Any) -> None:
        """method: `/package.Service/Method`. Raises: Unauthenticated, Denied."""
        if method in OPEN:
            return
        if not method.startswith(API):
            raise Denied("METHOD_DENIED", f"{method} is not served to anybody here")
        credential = await self._secrets.match(bearer_token(context.invocation_metadata()), CREDENTIAL_KIND_API)
        _caller.set(credential.name)


def bearer_token(metadata: Any) -> str:
    """The token of the one `authorization` entry. Raises: Unauthenticated."""
    values = [value for key, value in metadata or () if key == "authorization"]
    if not values:
        raise Unauthenticated("CREDENTIAL_MISSING", "the call carries no token", _LOG_IN)
    scheme, _, token = str(values[0]).partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.startswith("wp1_"):
        raise Unauthenticated("CREDENTIAL_MALFORMED", "the `authorization` metadata is not one Bearer token", _LOG_IN)
    return token
