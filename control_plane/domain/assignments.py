"""Messages in, messages out: the rim of the planner.

`plan` works on the values of `types.py`; this module makes them from resources, reports and the stored desired state,
and makes items for the wire from what was planned. It imports the generated messages, which is no I/O: the alternative
would be a second description of PositionAssignment for `plan` to build bytes from.

Assignments are compared as values, not as bytes: another protobuf release may write the same message differently, and
that must not raise a generation. An item whose generation did not change keeps the bytes it had.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from control_plane.domain.own_items import own_item
from control_plane.domain.plan import plan
from control_plane.domain.types import (
    Absence,
    Assignment,
    Held,
    Inventory,
    Item,
    Policy,
    Position,
    Token,
    Version,
    VersionContent,
    VersionState,
)
from mesh.times import seconds
from waypost import names
from waypost.api.control.v1 import credential_pb2, model_pb2, position_pb2
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
)
from waypost.api.link.v1 import agent_link_pb2, link_pb2

M = TypeVar("M")
V = TypeVar("V")

AGENT_CONNECTED = "AgentConnected"
"""Condition of an edge server."""

_STATES = {
    model_pb2.MODEL_VERSION_STATE_IMPORTING: VersionState.IMPORTING,
    model_pb2.MODEL_VERSION_STATE_AVAILABLE: VersionState.AVAILABLE,
    model_pb2.MODEL_VERSION_STATE_INVALID: VersionState.INVALID,
    model_pb2.MODEL_VERSION_STATE_WITHDRAWN: VersionState.WITHDRAWN,
}

_SERVING = frozenset(
    (
        position_pb2.POSITION_STATE_IN_SERVICE,
        position_pb2.POSITION_STATE_UPDATING,
        position_pb2.POSITION_STATE_DEGRADED,
    )
)

_IMMUTABLE = (
    "name",
    "uid",
    "artifacts",
    "framework",
    "template_class",
    "signature",
    "idempotent",
    "keeps_state",
    "digest",
)
"""What an edge server is told of a version: nothing that changes later, or every edit of a label would be a rollout."""


@dataclass(frozen=True, slots=True)
class Resources:
    """All that is planned from, as of store revision `revision`, read before the rest was."""

    revision: int
    positions: Sequence[position_pb2.Position]
    versions: Sequence[model_pb2.ModelVersion]
    credentials: Sequence[credential_pb2.Credential]
    edge_servers: frozenset[str]
    desired: Mapping[str, Sequence[link_pb2.Item]]
    """By edge server, as stored."""
    reports: Sequence[tuple[str, agent_link_pb2.PositionReport]]
    """(edge server, report)."""
    statuses: Mapping[str, EdgeServerStatus] = field(default_factory=dict)
    """Of edge servers, as observed."""
    observed_since_s: float = 0.0
    """Unix seconds: before that, who was not heard may not have been listened to."""
    specified: Mapping[str, EdgeServer] = field(default_factory=dict)
    """Those edge servers whose spec says anything."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to commit. changed: whole desired states that differ from the stored ones, by edge server."""

    changed: Mapping[str, Sequence[link_pb2.Item]]
    abandoned: frozenset[str]
    """Edge servers that are no more and still have a stored desired state: it may go."""
    held: Mapping[str, Held]
    finished: frozenset[str]
    """Positions in deletion whose records may go."""
    replaced: Mapping[str, str]
    """Position -> the edge server that stands in for its own."""
    look_again_s: float
    """When to plan again although nothing has changed, in Unix seconds."""


class Conversions:
    """What messages say, kept from one plan to the next: of a large fleet hardly any has changed in between."""

    def __init__(self) -> None:
        self.positions = Kept(position_of)
        self.versions = Kept(version_of)
        self.desired = Kept(_read_items)


class Kept(Generic[M, V]):
    """Conversions by name, good for as long as the message under that name is the very same object."""

    def __init__(self, convert: Callable[[M], V]) -> None:
        self._convert = convert
        self._kept: dict[str, tuple[M, V]] = {}

    def all(self, messages: Iterable[tuple[str, M]]) -> dict[str, V]:
        """By name. Messages that are not among these are forgotten. Nobody may change them, nor what comes out."""
        before, self._kept = self._kept, {}
        for name, message in messages:
            known = before.get(name)
            self._kept[name] = known if known and known[0] is message else (message, self._convert(message))
        return {name: value for name, (_, value) in self._kept.items()}


def plan_resources(resources: Resources, *, now_s: float, conversions: Conversions | None = None) -> Outcome:
    """`plan`, from messages to messages. conversions: of plans before this one, by the same caller."""
    kept = conversions or Conversions()
    own = {server: [item for item in items if item.name == server] for server, items in resources.desired.items()}
    parent = kept.desired.all(resources.desired.items())
    result = plan(policy_of(resources, kept), parent, inventory_of(resources), now_s=now_s)
    own_now = {server: _own_items(server, own.get(server, []), resources) for server in result.desired}
    changed = {
        server: [*own_now[server], *_write_items(items, resources.desired.get(server, ()))]
        for server, items in result.desired.items()
        if items != parent.get(server, {}) or own_now[server] != own.get(server, [])
    }
    abandoned = frozenset(resources.desired) - resources.edge_servers
    return Outcome(changed, abandoned, result.held, result.finished, result.replaced, result.look_again_s)


def _own_items(server: str, before: Sequence[link_pb2.Item], resources: Resources) -> list[link_pb2.Item]:
    """The item of the edge server itself, if there is one."""
    specified = resources.specified.get(server)
    item = own_item(specified, before[0] if before else None, resources.revision) if specified else None
    return [item] if item else []


def policy_of(resources: Resources, conversions: Conversions) -> Policy:
    tokens: dict[str, set[Token]] = {}
    for credential in resources.credentials:
        if credential.kind == credential_pb2.CREDENTIAL_KIND_APPLICATION:
            tokens.setdefault(names.parent(credential.name), set()).add(_token(credential))
    return Policy(
        resources.revision,
        conversions.positions.all((position.name, position) for position in resources.positions),
        conversions.versions.all((version.name, version) for version in resources.versions),
        {application: frozenset(held) for application, held in tokens.items()},
        resources.edge_servers,
        {name: each.spec.software_version for name, each in resources.specified.items() if each.spec.software_version},
    )


def inventory_of(resources: Resources) -> Inventory:
    rejected: dict[str, frozenset[str]] = {}
    gone: set[tuple[str, str]] = set()
    serving: set[tuple[str, str]] = set()
    for server, report in resources.reports:
        digests = frozenset(rejection.digest for rejection in report.status.rejected)
        rejected[report.uid] = rejected.get(report.uid, frozenset()) | digests
        if report.gone:
            gone.add((server, report.uid))
        if _serves(report, resources.statuses.get(server)):
            serving.add((server, report.uid))
    states = {server: status.state for server, status in resources.statuses.items()}
    return Inventory(
        rejected,
        frozenset(gone),
        frozenset(server for server, state in states.items() if state == EDGE_SERVER_STATE_CONNECTED),
        {
            server: max(_away_since_s(resources.statuses[server]), resources.observed_since_s)
            for server, state in states.items()
            if state == EDGE_SERVER_STATE_DISCONNECTED
        },
        frozenset(serving),
    )


def _serves(report: agent_link_pb2.PositionReport, status: EdgeServerStatus | None) -> bool:
    """Whether it answers, as was said in the present session of its agent: what it said before it was away is past."""
    if status is None or status.state != EDGE_SERVER_STATE_CONNECTED or report.status.state not in _SERVING:
        return False
    return report.status.report_time.ToMilliseconds() >= status.connected_since_time.ToMilliseconds()


def _away_since_s(status: EdgeServerStatus) -> float:
    since = (judged.since for judged in status.conditions if judged.type == AGENT_CONNECTED)
    return max((seconds(each) for each in since), default=0.0)


def position_of(position: position_pb2.Position) -> Position:
    return Position(
        position.name,
        position.uid,
        position.generation,
        position.spec.edge_server,
        position.spec.model_version,
        _unchosen(position.spec),
        position.HasField("delete_time"),
        _absence(position.spec.on_disconnect),
        position.spec.software_version,
        position.changes_allowed_until.ToMilliseconds(),
    )


def _unchosen(spec: position_pb2.PositionSpec) -> bytes:
    """A spec without what `plan` chooses."""
    rest = position_pb2.PositionSpec()
    rest.CopyFrom(spec)
    rest.ClearField("model_version")
    rest.ClearField("software_version")
    return rest.SerializeToString(deterministic=True)


def _absence(rule: position_pb2.DisconnectPolicy) -> Absence | None:
    if not rule.replace_after.ToMilliseconds():
        return None
    keeps = rule.on_return == position_pb2.ON_RETURN_KEEP_REPLACEMENT
    return Absence(seconds(rule.replace_after), tuple(rule.fallback_edge_servers), keeps)


def version_of(version: model_pb2.ModelVersion) -> Version:
    return Version(_content(version), _STATES.get(version.state, VersionState.IMPORTING))


def _content(version: model_pb2.ModelVersion) -> VersionContent:
    told = model_pb2.ModelVersion()
    told.CopyFrom(version)
    for descriptor, _ in version.ListFields():
        if descriptor.name not in _IMMUTABLE:
            told.ClearField(descriptor.name)  # type: ignore[arg-type]
    return VersionContent(version.name, version.digest, told.SerializeToString(deterministic=True))


def _token(credential: credential_pb2.Credential) -> Token:
    expire = credential.expire_time.ToSeconds() if credential.HasField("expire_time") else 0
    return Token(credential.name, credential.secret_sha256, expire)


def _read_items(items: Sequence[link_pb2.Item]) -> dict[str, Item]:
    """Of positions; an edge server's own item is none."""
    return dict(_read_item(item) for item in items if not item.name.startswith("edgeServers/"))


def _read_item(item: link_pb2.Item) -> tuple[str, Item]:
    message = agent_link_pb2.PositionAssignment.FromString(item.body)
    assignment = Assignment(
        message.position,
        message.uid,
        message.generation,
        _unchosen(message.spec),
        _content(message.model_version),
        tuple(Token(token.credential, token.sha256, token.expire_unix_s) for token in message.tokens),
        message.deleting,
        message.spec.edge_server,
        message.spec.software_version,
        message.changes_allowed_until.ToMilliseconds(),
    )
    return item.name, Item(item.generation, assignment)


def _write_items(items: Mapping[str, Item], stored: Sequence[link_pb2.Item]) -> list[link_pb2.Item]:
    before = {(item.name, item.generation): item for item in stored}
    return [
        before.get((name, item.generation)) or link_pb2.Item(name=name, generation=item.generation, body=_body(item))
        for name, item in items.items()
    ]


def _body(item: Item) -> bytes:
    assignment = item.assignment
    message = agent_link_pb2.PositionAssignment(
        position=assignment.position,
        uid=assignment.uid,
        generation=assignment.generation,
        spec=position_pb2.PositionSpec.FromString(assignment.spec),
        model_version=model_pb2.ModelVersion.FromString(assignment.version.body),
        tokens=[
            agent_link_pb2.TokenHash(
                credential=token.credential, sha256=token.sha256, expire_unix_s=token.expire_unix_s
            )
            for token in assignment.tokens
        ],
        deleting=assignment.deleting,
    )
    message.spec.model_version = assignment.version.name
    message.spec.software_version = assignment.software
    if assignment.allowed_until_ms:
        message.changes_allowed_until.FromMilliseconds(assignment.allowed_until_ms)
    return message.SerializeToString(deterministic=True)
