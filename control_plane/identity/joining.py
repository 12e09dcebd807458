"""What a join token is worth: whom it lets in as what, how often, and the commit that remembers it.

A token of `edgeServers/tower` lets one key in as `tower`, or as many keys as it says. A token of `edgeServers/-` makes
edge servers: whoever joins says a name that fits the token's pattern, and the edge server is created in the commit that
marks the use, so that neither is ever there without the other. It makes new ones only, because who holds a token for
`tower-*` must not become a tower that is there already.

The answer to a join may be lost, and the agent asks again: the key that a token has enrolled may use it again, and
finds what it got. That is why the uses of a token are remembered by key.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.events import Recorder, Told
from control_plane.gathering import Gathered
from control_plane.identity.revocation import refuse_revoked
from control_plane.store import Delete, Put, Record, Stores
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, not_found
from mesh.clock import Ids
from mesh.times import seconds, timestamp
from waypost import names
from waypost.api.control.v1.credential_pb2 import Credential, JoinUse
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.errors import AlreadyExists, Denied, Invalid, MeshError, Precondition

ENROLLED = "ENROLLED"
JOINS_AT_ONCE = 64  # in one commit, which then takes some ten milliseconds


@dataclass(frozen=True, slots=True)
class _Join:
    """What one caller asks for. token: full name of the credential."""

    token: str
    wanted: str
    key_sha256: str


class JoinTokens:
    """now: seconds since the epoch.

    Whoever joins while a commit is under way shares the next one: a hundred machines that are switched on together
    with one token would else all write its record at once, and all but one in vain.
    """

    def __init__(self, stores: Stores, ids: Ids, now: Callable[[], float]) -> None:
        self._store = stores.records
        self._recorder = Recorder(stores.events, now)
        self._ids = ids
        self._now = now
        self._together = Gathered(self._use_all, JOINS_AT_ONCE)

    async def use(self, name: str, wanted: str, key_sha256: str) -> EdgeServer:
        """Whom the credential `name` lets the holder of a key in as. wanted: id of an edge server, or empty.

        Raises: RevisionConflict (try again), NotFound, Denied (EDGE_SERVER_REVOKED, WRONG_NAME), Invalid (BAD_ID,
        NAME_MISSING), AlreadyExists (EDGE_SERVER_EXISTS), Precondition (JOIN_TOKEN_USED).
        """
        answer = await self._together(_Join(name, wanted, key_sha256))
        if isinstance(answer, MeshError):
            raise answer
        return answer

    async def _use_all(self, joins: Sequence[_Join]) -> Sequence[EdgeServer | MeshError]:
        """Each as if it had come after those before it, in one commit. Raises: RevisionConflict."""
        tokens = await self._store.read_many({join.token for join in joins})
        draft = _Draft(tokens, self._ids, timestamp(self._now()))
        draft.servers = await self._store.read_many(draft.joined_as(joins))
        answers = [draft.answer(join) for join in joins]
        if draft.changed:
            await self._store.commit(draft.changes(), expect=draft.expected())
            await self._recorder.record_all(draft.told())
        return answers


class _Draft:
    """What some joins come to: tokens with more uses, edge servers that are new."""

    def __init__(self, tokens: Mapping[str, Record], ids: Ids, now: Timestamp) -> None:
        self.servers: Mapping[str, Record] = {}
        self.changed: dict[str, list[str]] = {}
        """By token, whom it has let in now."""
        self._tokens = tokens
        self._credentials = {
            name: CREDENTIAL.decode(record) for name, record in tokens.items() if record.kind == CREDENTIAL.kind
        }
        self._made: dict[str, EdgeServer] = {}
        self._ids = ids
        self._now = now

    def joined_as(self, joins: Sequence[_Join]) -> set[str]:
        """Full names of the edge servers that are to be looked at."""
        found = set()
        for join in joins:
            with suppress(MeshError):  # it will hear it with its answer
                found.add(self._name(join))
        return found

    def answer(self, join: _Join) -> EdgeServer | MeshError:
        try:
            return self._use(join)
        except MeshError as error:
            return error

    def changes(self) -> list[Put | Delete]:
        puts = [CREDENTIAL.encode(name, self._credentials[name]) for name in self.changed]
        return [*puts, *(EDGE_SERVER.encode(name, made) for name, made in self._made.items())]

    def expected(self) -> dict[str, int]:
        """What the answers rest on."""
        servers = {name for joined in self.changed.values() for name in joined}
        revisions = {name: self.servers[name].revision if name in self.servers else 0 for name in servers}
        return {**revisions, **{name: self._tokens[name].revision for name in self.changed}}

    def told(self) -> list[Told]:
        return [
            Told(server, ENROLLED, f"an agent enrolled with {names.leaf(token)}")
            for token, joined in self.changed.items()
            for server in joined
        ]

    def _name(self, join: _Join) -> str:
        """Raises: NotFound, Denied, Invalid."""
        if join.token not in self._credentials:
            raise not_found(CREDENTIAL, join.token)
        return _name(self._credentials[join.token], join.wanted)

    def _server(self, name: str) -> EdgeServer | None:
        if (record := self.servers.get(name)) is not None and record.kind == EDGE_SERVER.kind:
            return EDGE_SERVER.decode(record)
        return self._made.get(name)

    def _use(self, join: _Join) -> EdgeServer:
        """Raises: MeshError."""
        joins_as = self._name(join)
        credential, server = self._credentials[join.token], self._server(joins_as)
        if server is not None:
            made = seconds(credential.create_time)
            refuse_revoked(server, made, "the join token")
        uses = _uses(credential)
        if server is not None and JoinUse(edge_server=joins_as, key_sha256=join.key_sha256) in map(_undated, uses):
            return server
        _refuse_used_up(credential, uses)
        if not credential.edge_server_pattern:
            if server is None:
                raise not_found(EDGE_SERVER, joins_as)
        elif server is not None:
            raise _exists(joins_as)
        self._note(credential, joins_as, join.key_sha256)
        return server or self._make(joins_as)

    def _note(self, credential: Credential, joins_as: str, key_sha256: str) -> None:
        credential.join_uses.add(edge_server=joins_as, key_sha256=key_sha256, time=self._now)
        if not credential.used_by_key_sha256:
            credential.used_by_key_sha256 = key_sha256
            credential.use_time.CopyFrom(self._now)
        self.changed.setdefault(credential.name, []).append(joins_as)

    def _make(self, name: str) -> EdgeServer:
        made = EdgeServer(name=name, uid=self._ids.uuid(), create_time=self._now, update_time=self._now)
        self._made[name] = made
        return made


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
