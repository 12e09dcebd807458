"""Who changed what, when, from where and with what outcome: one entry for every call that changes something, whatever
came of it, and for every call that was refused for who made it.

An entry is written when the call has ended and before its caller hears of it. It names the resource and holds the
request, without what the protos mark as secret (`debug_redact`) and without bytes. An entry that cannot be written is
logged whole: the change has happened, and its caller is told so.

Whoever is refused again and again costs a bounded number of entries (REFUSALS_MAX); the log has a line for each call.
"""

import json
from collections.abc import Callable
from typing import Any

import structlog
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString

from control_plane.access import caller
from control_plane.access.attempts import Buckets, peer_of
from control_plane.store import AuditRow, AuditStore
from control_plane.store.text import WORD_BYTES_MAX, clean
from waypost.errors import MeshError

log = structlog.get_logger()

REFUSALS_MAX, REFUSAL_LEAK_S = 60, 1.0  # entries of one machine: sixty at once, then one a second
REQUEST_CHARACTERS_MAX = 2000
TEXT_CHARACTERS_MAX = 200  # of one value inside

COLLECTIONS = {
    "application_id": "applications",
    "credential_id": "credentials",
    "edge_server_id": "edgeServers",
    "model_id": "models",
    "model_version_id": "versions",
    "position_id": "positions",
    "project_id": "projects",
    "role_binding_id": "roleBindings",
    "subscription_id": "subscriptions",
    "user_id": "users",
}
"""Field of a Create request -> what it makes."""

_NAMED_BY = ("resource", "parent", "user")
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")


class Audit:
    """`witness` goes to `mesh.serve.grpc_server`."""

    def __init__(self, store: AuditStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._failures = Buckets(REFUSALS_MAX, REFUSAL_LEAK_S)

    async def witness(self, method: str, context: Any, request: Any, code: str, reason: str) -> None:
        """A call has ended. Never raises MeshError."""
        peer = peer_of(context.peer())
        if not is_worth_an_entry(method, code) or (code != "OK" and not self._has_room(peer)):
            return
        row = AuditRow(
            time_unix_ms=int(self._now() * 1000),
            subject=caller().name,
            credential=caller().credential,
            peer=peer,
            method="/".join(method.rpartition(".")[2].split("/")),
            resource=clean(resource_of(request), WORD_BYTES_MAX) if isinstance(request, Message) else "",
            code=code,
            reason=reason,
            request=summary(request) if isinstance(request, Message) else "",
            failed=code != "OK",
        )
        try:
            await self._store.append(row)
        except MeshError as error:
            log.error("audit_lost", error=error.message, **{name: getattr(row, name) for name in row.__slots__})

    def _has_room(self, peer: str) -> bool:
        if self._failures.wait_s(peer, self._now()) > 0:
            return False
        self._failures.add(peer, 1, self._now())
        return True


def is_worth_an_entry(method: str, code: str) -> bool:
    """method: `/package.Service/Method`."""
    return code in _REFUSED or (method.startswith("/waypost.") and not _only_reads(method))


def resource_of(request: Message) -> str:
    """Full name of what a request is about; empty where it says nothing."""
    present: Any = request
    fields = present.DESCRIPTOR.fields_by_name
    if "name" in fields:
        return str(present.name)
    for id_field, collection in COLLECTIONS.items():
        if id_field in fields:
            parent = f"{present.parent}/" if "parent" in fields and present.parent else ""
            return f"{parent}{collection}/{getattr(present, id_field)}".rstrip("/")
    for field in _NAMED_BY:
        if field in fields and isinstance(named := getattr(present, field), str):
            return named
    inside = [value for _, value in present.ListFields() if isinstance(value, Message)]
    return next((str(value.name) for value in inside if "name" in value.DESCRIPTOR.fields_by_name), "")  # type: ignore[attr-defined]


def summary(request: Message) -> str:
    """The request as JSON, without secrets and bytes; as protobuf's text where JSON has no form for a value of it."""
    kept = type(request)()
    kept.CopyFrom(request)
    _strip(kept)
    try:
        text = json.dumps(_shortened(MessageToDict(kept, preserving_proto_field_name=True)), ensure_ascii=False)
    except (SerializeToJsonError, ValueError):  # a time outside its range, a mask of no fields
        text = MessageToString(kept, as_one_line=True)
    return text if len(text) <= REQUEST_CHARACTERS_MAX else f"{text[:REQUEST_CHARACTERS_MAX]}…"


def _strip(message: Any) -> None:
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact or field.type == field.TYPE_BYTES:
            message.ClearField(field.name)
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        else:
            for inside in [value] if isinstance(value, Message) else value:
                _strip(inside)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_shortened(inside) for inside in value]
    if isinstance(value, str) and len(value) > TEXT_CHARACTERS_MAX:
        return f"{value[:TEXT_CHARACTERS_MAX]}…"
    return value


def _only_reads(method: str) -> bool:
    service, _, name = method[1:].partition("/")
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return bool(described.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)
