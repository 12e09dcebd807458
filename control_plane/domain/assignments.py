"""Messages in, messages out: the rim of the planner.

`plan` works on the values of `types.py`; this module makes them from resources, reports and the stored desired state,
and makes items for the wire from what was planned. It imports the generated messages, which is no I/O: the alternative
would be a second description of PositionAssignment for `plan` to build bytes from.

Assignments are compared as values, not as bytes: another protobuf release may write the same message differently, and
that must not raise a generation. An item whose generation did not change keeps the bytes it had.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.plan import plan
from control_plane.domain.types import (
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
from waypost import names
from waypost.api.control.v1 import credential_pb2, model_pb2, position_pb2
from waypost.api.link.v1 import agent_link_pb2, link_pb2

_STATES = {
    model_pb2.MODEL_VERSION_STATE_IMPORTING: VersionState.IMPORTING,
    model_pb2.MODEL_VERSION_STATE_AVAILABLE: VersionState.AVAILABLE,
    model_pb2.MODEL_VERSION_STATE_INVALID: VersionState.INVALID,
    model_pb2.MODEL_VERSION_STATE_WITHDRAWN: VersionState.WITHDRAWN,
}

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to commit. changed: whole desired states that differ from the stored ones, by edge server."""

    changed: Mapping[str, Sequence[link_pb2.Item]]
    abandoned: frozenset[str]
    """Edge servers that are no more and still have a stored desired state: it may go."""
    held: Mapping[str, Held]
    finished: frozenset[str]
    """Positions in deletion whose records may go."""


def plan_resources(resources: Resources, *, now_s: float) -> Outcome:
    """`plan`, from messages to messages."""
    parent = {server: dict(map(_read_item, items)) for server, items in resources.desired.items()}
    result = plan(policy_of(resources), parent, inventory_of(resources.reports), now_s=now_s)
    changed = {
        server: _write_items(items, resources.desired.get(server, ()))
        for server, items in result.desired.items()
        if items != parent.get(server, {})
    }
    abandoned = frozenset(resources.desired) - resources.edge_servers
    return Outcome(changed, abandoned, result.held, result.finished)


def policy_of(resources: Resources) -> Policy:
    tokens: dict[str, set[Token]] = {}
    for credential in resources.credentials:
        if credential.kind == credential_pb2.CREDENTIAL_KIND_APPLICATION:
            tokens.setdefault(names.parent(credential.name), set()).add(_token(credential))
    return Policy(
        resources.revision,
        {position.name: position_of(position) for position in resources.positions},
        {version.name: version_of(version) for version in resources.versions},
        {application: frozenset(held) for application, held in tokens.items()},
        resources.edge_servers,
    )


def inventory_of(reports: Iterable[tuple[str, agent_link_pb2.PositionReport]]) -> Inventory:
    rejected: dict[str, frozenset[str]] = {}
    gone: set[tuple[str, str]] = set()
    for server, report in reports:
        digests = frozenset(rejection.digest for rejection in report.status.rejected)
        rejected[report.uid] = rejected.get(report.uid, frozenset()) | digests
        if report.gone:
            gone.add((server, report.uid))
    return Inventory(rejected, frozenset(gone))


def position_of(position: position_pb2.Position) -> Position:
    spec = position_pb2.PositionSpec()
    spec.CopyFrom(position.spec)
    spec.ClearField("model_version")
    return Position(
        position.name,
        position.uid,
        position.generation,
        position.spec.edge_server,
        position.spec.model_version,
        spec.SerializeToString(deterministic=True),
        position.HasField("delete_time"),
    )


def version_of(version: model_pb2.ModelVersion) -> Version:
    return Version(_content(version), _STATES.get(version.state, VersionState.IMPORTING))


def _content(version: model_pb2.ModelVersion) -> VersionContent:
    told = model_pb2.ModelVersion()
    told.CopyFrom(version)
    for field, _ in version.ListFields():
        if field.name not in _IMMUTABLE:
            told.ClearField(field.name)  # type: ignore[arg-type]
    return VersionContent(version.name, version.digest, told.SerializeToString(deterministic=True))


def _token(credential: credential_pb2.Credential) -> Token:
    expire = credential.expire_time.ToSeconds() if credential.HasField("expire_time") else 0
    return Token(credential.name, credential.secret_sha256, expire)


def _read_item(item: link_pb2.Item) -> tuple[str, Item]:
    message = agent_link_pb2.PositionAssignment.FromString(item.body)
    spec = position_pb2.PositionSpec()
    spec.CopyFrom(message.spec)
    spec.ClearField("model_version")
    assignment = Assignment(
        message.position,
        message.uid,
        message.generation,
        spec.SerializeToString(deterministic=True),
        _content(message.model_version),
        tuple(Token(token.credential, token.sha256, token.expire_unix_s) for token in message.tokens),
        message.deleting,
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
    return message.SerializeToString(deterministic=True)
