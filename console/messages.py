"""Messages of the API as people and programs read them. Pure.

For programs: ProtoJSON with the field names of the protos (snake_case) and times in ISO 8601. For people: words without
the enum's prefix, times as ages, short names, repeated messages as tables.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mesh import text
from mesh.times import seconds
from waypost import names
from waypost.api.control.v1.condition_pb2 import Condition, ConditionStatus

Field = Any  # a field's descriptor: one class in protobuf's C, another in its Python

INDENT = "  "
DIGEST_CHARACTERS = len("sha256:") + 12  # of a digest in a table: enough to tell any two apart
UNPRINTED = frozenset({"etag", "uid"})
"""Fields that programs need and people do not: `-o json` has them."""

TIMES = (Timestamp, Duration)
"""Messages that are one value for people: `2026-11-22T21:08:31Z`, `3600s`."""

SENTENCES = frozenset({"message", "hint", "evidence"})
"""Fields too long for a column."""


def to_json(value: Message | Iterable[Message | Mapping[str, Any]] | Mapping[str, Any]) -> str:
    """One message as an object, several as a list, a mapping with messages inside as it is."""
    return json.dumps(_jsonable(value), indent=2, ensure_ascii=False)


def to_json_line(value: Mapping[str, Any]) -> str:
    """The same in one line, for a stream of them."""
    return json.dumps(_jsonable(value), ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    return [_jsonable(item) for item in value]


def word(message: Message, field: str) -> str:
    """`IN_SERVICE` for a position's state: an enum's value without the enum's name in front."""
    descriptor: Field = message.DESCRIPTOR.fields_by_name[field]
    enum = descriptor.enum_type
    number = getattr(message, field)
    value = enum.values_by_number.get(number)
    if value is None:
        return f"STATE_{number}"  # from a newer platform than this console
    return str(value.name).removeprefix(enum_prefix(descriptor))


def age(time: Timestamp, now: float) -> str:
    """`3 min ago`; empty for a time that was never set."""
    return text.age(now - time.seconds - time.nanos / 1e9) if time.seconds else ""


def until(time: Timestamp, now: float) -> str:
    """`in 3 d`, `12 s ago`; `never` for a time that was never set."""
    if not time.seconds:
        return "never"
    return age(time, now) if time.seconds <= now else f"in {text.age(time.seconds - now).removesuffix(' ago')}"


def iso(time: Timestamp) -> str:
    """`2026-11-22 21:08:31`, in the time zone of this machine."""
    moment = datetime.datetime.fromtimestamp(time.seconds, tz=datetime.UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso_utc(time_s: float) -> str:
    """`2026-11-22T21:08:31.250Z`, for programs."""
    moment = datetime.datetime.fromtimestamp(time_s, tz=datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failing(conditions: Iterable[Condition]) -> list[Condition]:
    """Conditions that are not true, those that are false first."""
    order = {ConditionStatus.CONDITION_STATUS_FALSE: 0, ConditionStatus.CONDITION_STATUS_UNKNOWN: 1}
    return sorted((c for c in conditions if c.status in order), key=lambda condition: order[condition.status])


def plain(message: Message) -> dict[str, Any]:
    """The fields that are set, as YAML shall show them: numbers as numbers, in the order of the proto."""
    return {field.name: _plain_field(field, value) for field, value in message.ListFields()}


def _plain_field(field: Field, value: Any) -> Any:
    if field.enum_type is not None:
        return [_plain_enum(field, item) for item in value] if _repeated(field) else _plain_enum(field, value)
    if field.message_type is None:
        return list(value) if _repeated(field) else value
    if isinstance(value, TIMES):
        return value.ToJsonString()
    if field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    return [plain(item) for item in value] if _repeated(field) else plain(value)


def _plain_enum(field: Field, number: int) -> str | int:
    known = field.enum_type.values_by_number.get(number)
    return number if known is None else str(known.name).removeprefix(enum_prefix(field))


def enum_prefix(field: Field) -> str:
    """`WEEKDAY_`: what the names of the enum's values have in common, and people leave out."""
    return str(field.enum_type.values_by_number[0].name).removesuffix("UNSPECIFIED")


def outline(message: Message, now: float) -> str:
    """Everything that is set, for `get`: a line per field, nested ones indented, repeated messages as tables."""
    return "\n".join(_outlined(message, now, ""))


def _outlined(message: Message, now: float, indent: str) -> Iterator[str]:
    shown = [(field, value) for field, value in message.ListFields() if field.name not in UNPRINTED]
    width = max((len(_label(field)) for field, _ in shown if not _nested(field)), default=0)
    for field, value in shown:
        label = _label(field)
        if _repeated(field) and field.message_type is not None and not _is_map(field):
            yield f"{indent}{label}:"
            yield from (indent + INDENT + line for line in _message_table(value, now))
        elif _nested(field):
            yield f"{indent}{label}:"
            yield from _outlined(value, now, indent + INDENT)
        else:
            yield f"{indent}{label + ':':{width + 1}}  {cell(message, field, value, now)}"


def _label(field: Field) -> str:
    return str(field.name).removesuffix("_bytes").replace("_", " ")


def cell(message: Message, field: Field, value: Any, now: float) -> str:
    """One field in words."""
    if isinstance(value, Timestamp):
        return f"{iso(value)} ({until(value, now)})"
    if _is_map(field):
        return ", ".join(f"{key}={_number(item)}" for key, item in sorted(value.items()))
    if isinstance(value, Duration):
        return text.duration(seconds(value))
    if field.enum_type is not None and _repeated(field):
        return ", ".join(str(_plain_enum(field, number)) for number in value)
    if field.enum_type is not None:
        return word(message, field.name)
    if field.name.endswith("_bytes"):
        return text.size(value)
    if _repeated(field):
        joined = ", ".join(str(item) for item in value)
        return joined if isinstance(value[0], str) else f"[{joined}]"
    return str(value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _message_table(messages: Iterable[Message], now: float) -> Iterator[str]:
    """A column for each field that any of them has set, but for nested ones; sentences follow their row."""
    rows = list(messages)
    fields = [
        field
        for field in rows[0].DESCRIPTOR.fields
        if field.name not in UNPRINTED | SENTENCES and not _nested(field) and any(_is_set(row, field) for row in rows)
    ]
    header = [_label(field).upper() for field in fields]
    lines = text.table(header, [[_table_cell(row, field, now) for field in fields] for row in rows]).splitlines()
    yield lines[0]
    for row, line in zip(rows, lines[1:], strict=True):
        yield line
        yield from _sentences(row)


def _sentences(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.name in SENTENCES:
            yield f"{INDENT * 2}{field.name}: {value}"


def _table_cell(message: Message, field: Field, now: float) -> str:
    if not _is_set(message, field):
        return ""
    value = getattr(message, field.name)
    if isinstance(value, Timestamp):
        return age(value, now)
    shown = cell(message, field, value, now)
    if shown.startswith("sha256:"):
        return shown[:DIGEST_CHARACTERS]
    return names.short(shown) if shown.split("/")[0] in names.FORMS and "/" in shown else shown


def _is_set(message: Message, field: Field) -> bool:
    return any(present is field for present, _ in message.ListFields())


def _nested(field: Field) -> bool:
    times = (Timestamp.DESCRIPTOR, Duration.DESCRIPTOR)
    return field.message_type is not None and not _is_map(field) and field.message_type not in times


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _repeated(field: Field) -> bool:
    return bool(field.default_value == [])  # `is_repeated` is younger than the oldest protobuf that we support
