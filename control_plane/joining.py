"""What a join token is worth: whom it lets in as what, how often, and the commit that remembers it.

A token of `edgeServers/tower` lets one key in as `tower`, or as many keys as it says. A token of `edgeServers/-` makes
edge servers: whoever joins says a name that fits the token's pattern, and the edge server is created in the commit that
marks the use, so that neither is ever there without the other. It makes new ones only, because who holds a token for
`tower-*` must not become a tower that is there already.

The answer to a join may be lost, and the agent asks again: the key that a token has enrolled may use it again, and
finds what it got. That is why the uses of a token are remembered by key.
"""

import re
from collections.abc import Callable

from control_plane.conditions import timestamp
from control_plane.events import Recorder
from control_plane.revocation import refuse_revoked
from control_plane.store import Stores
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, Resources, Stored
from mesh.clock import Ids
from waypost import names
from waypost.api.control.v1.credential_pb2 import Credential, JoinUse
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.errors import AlreadyExists, Denied, Invalid, Precondition

ENROLLED = "ENROLLED"


class JoinTokens:
    """now: seconds since the epoch."""

    def __init__(self, stores: Stores, ids: Ids, now: Callable[[], float]) -> None:
        self._store = stores.records
        self._resources = Resources(stores.records)
        self._recorder = Recorder(stores.events, now)
        self._ids = ids
        self._now = now

    async def use(self, name: str, wanted: str, key_sha256: str) -> EdgeServer:
        """Whom the credential `name` lets the holder of a key in as. wanted: id of an edge server, or empty.

        Raises: RevisionConflict (try again), NotFound, Denied (EDGE_SERVER_REVOKED, WRONG_NAME), Invalid (BAD_ID,
        NAME_MISSING), AlreadyExists (EDGE_SERVER_EXISTS), Precondition (JOIN_TOKEN_USED).
        """
        credential = await self._resources.get(CREDENTIAL, name)
        joins_as = _name(credential.message, wanted)
        server = await self._resources.find(EDGE_SERVER, joins_as)
        if server is not None:
            made = credential.message.create_time.ToMilliseconds() / 1000
            refuse_revoked(server.message, made, "the join token")
        uses = _uses(credential.message)
        if server is not None and JoinUse(edge_server=joins_as, key_sha256=key_sha256) in map(_undated, uses):
            return server.message
        _refuse_used_up(credential.message, uses)
        if not credential.message.edge_server_pattern:
            server = await self._resources.get(EDGE_SERVER, joins_as)
        elif server is not None:
            raise _exists(joins_as)
        return await self._commit(credential, joins_as, server, key_sha256)

    async def _commit(
        self, credential: Stored[Credential], joins_as: str, server: Stored[EdgeServer] | None, key_sha256: str
    ) -> EdgeServer:
        name, now = credential.message.name, timestamp(self._now())
        after = Credential()
        after.CopyFrom(credential.message)
        after.join_uses.add(edge_server=joins_as, key_sha256=key_sha256, time=now)
        if not after.used_by_key_sha256:
            after.used_by_key_sha256 = key_sha256
            after.use_time.CopyFrom(now)
        changes = [CREDENTIAL.encode(name, after)]
        joined = server.message if server else self._new(joins_as)
        if server is None:
            changes.append(EDGE_SERVER.encode(joins_as, joined))
        expect = {name: credential.revision, joins_as: server.revision if server else 0}
        await self._store.commit(changes, expect=expect)
        await self._recorder.record(joins_as, ENROLLED, f"an agent enrolled with {names.leaf(name)}")
        return joined

    def _new(self, name: str) -> EdgeServer:
        now = timestamp(self._now())
        return EdgeServer(name=name, uid=self._ids.uuid(), create_time=now, update_time=now)


def _name(credential: Credential, wanted: str) -> str:
    """`edgeServers/{edge_server}` that is joined as. Raises: Denied, Invalid."""
    if not (pattern := credential.edge_server_pattern):
        bound = names.parent(credential.name)
        if wanted not in ("", names.leaf(bound)):
            message = f"the join token is for {names.leaf(bound)!r}, not for {wanted!r}"
            raise Denied("WRONG_NAME", message, f"create one: `waypost edge-server join-token {wanted}`")
        return bound
    if not wanted:
        hint = "say it with --name: the edge server is created by joining"
        raise Invalid("NAME_MISSING", f"the join token makes edge servers called {pattern}, and no name was said", hint)
    names.check_id(wanted, "edgeServers")
    if not re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), wanted):
        raise Denied(
            "WRONG_NAME", f"the join token makes edge servers called {pattern}, not {wanted!r}", "choose another"
        )
    return f"edgeServers/{wanted}"


def _uses(credential: Credential) -> list[JoinUse]:
    """A control plane before this one remembered one use, without a list."""
    if credential.join_uses or not credential.used_by_key_sha256:
        return list(credential.join_uses)
    owner, key = names.parent(credential.name), credential.used_by_key_sha256
    return [JoinUse(edge_server=owner, key_sha256=key, time=credential.use_time)]


def _undated(use: JoinUse) -> JoinUse:
    return JoinUse(edge_server=use.edge_server, key_sha256=use.key_sha256)


def _refuse_used_up(credential: Credential, uses: list[JoinUse]) -> None:
    allowed = max(1, credential.max_uses)
    if len(uses) < allowed:
        return
    last = uses[-1]
    server, times = names.leaf(last.edge_server), "once" if allowed == 1 else f"{allowed} times"
    raise Precondition(
        "JOIN_TOKEN_USED",
        f"credential {credential.name} is good {times} and was used, last at {last.time.ToJsonString()} as {server!r}",
        f"`waypost edge-server join-token {server}` makes a new one; if that was not you, first `waypost edge-server "
        f"revoke {server}`",
        credential=credential.name,
    )


def _exists(edge_server: str) -> AlreadyExists:
    short = names.leaf(edge_server)
    return AlreadyExists(
        "EDGE_SERVER_EXISTS",
        f"there is an edge server {short!r} already, and this join token makes new ones only",
        f"choose another name, or join with one of its own: `waypost edge-server join-token {short}`",
        name=edge_server,
    )
