"""YAML nodes into messages, refusing with file and line whatever would be misunderstood silently. Pure.

The proto says what a field is, the text only says its value: where a string is wanted, `1.10`, `on` and `2026-11-22`
are those characters, whatever YAML would have made of them.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from console.kinds import EDGE_SERVER, PROJECT, VERSION, Kind
from console.messages import enum_prefix
from waypost.errors import Invalid, MeshError

REFERENCE = "docs/reference/specs.md lists what a document may hold"

REFERENCES: Mapping[tuple[str, str], Kind] = {
    ("PositionSpec", "model_version"): VERSION,
    ("PositionSpec", "edge_server"): EDGE_SERVER,
    ("SubscriptionSpec", "project"): PROJECT,
    ("DisconnectPolicy", "fallback_edge_servers"): EDGE_SERVER,
}
"""Fields that hold the name of another resource: short or full in YAML, full in the API."""

_TIMES = {Duration.DESCRIPTOR: "seconds, such as 3600s", Timestamp.DESCRIPTOR: "a time, such as 2026-11-28T02:00:00Z"}
_NULL = "tag:yaml.org,2002:null"
_WANTED = {
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, its value, and where it stands."""

    key: str
    value: yaml.Node
    where: str


def compose(text: str, source: str) -> list[yaml.Node]:
    """The documents of one file that are not empty. Raises: Invalid(BAD_SPEC)."""
    try:
        return [
            node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None and not _is_null(node)
        ]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise bad(f"{source}:{mark.line + 1}" if mark else source, f"this is not YAML: {problem}") from error


def entries(node: yaml.Node, source: str) -> dict[str, Entry]:
    """The keys of a mapping. Raises: Invalid(BAD_SPEC) where it is none, or names a key twice."""
    if not isinstance(node, yaml.MappingNode):
        raise bad(place(node, source), "keys with values are expected here")
    found: dict[str, Entry] = {}
    for key, value in node.value:
        entry = Entry(scalar_text(key, source), value, place(key, source))
        if entry.key in found:
            raise bad(entry.where, f"{entry.key!r} is given twice")
        found[entry.key] = entry
    return found


def fill(message: Message, field: Any, node: yaml.Node, source: str) -> None:
    """Sets one field of a message from its node. Raises: Invalid(BAD_SPEC)."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        texts = {key: scalar_text(entry.value, source) for key, entry in entries(node, source).items()}
        getattr(message, field.name).update(texts)
    elif field.default_value == []:
        _fill_list(message, field, node, source)
    elif field.message_type is None or field.message_type in _TIMES:
        _fill_scalar(message, field, node, source)
    else:
        _fill_message(getattr(message, field.name), node, source)


def _fill_list(message: Message, field: Any, node: yaml.Node, source: str) -> None:
    if not isinstance(node, yaml.SequenceNode):
        raise bad(place(node, source), f"{field.name!r} must be a list", "write it in brackets, [one, two], or with -")
    for item in node.value:
        if field.message_type is None:
            _fill_scalar(message, field, item, source)
        else:
            _fill_message(getattr(message, field.name).add(), item, source)


def _fill_message(message: Message, node: yaml.Node, source: str) -> None:
    message.SetInParent()
    for entry in entries(node, source).values():
        field = message.DESCRIPTOR.fields_by_name.get(entry.key)
        if field is None:
            raise unknown_key(entry, [known.name for known in message.DESCRIPTOR.fields])
        fill(message, field, entry.value, source)


def _fill_scalar(message: Message, field: Any, node: yaml.Node, source: str) -> None:
    """Sets a field, or adds to a list."""
    value = _scalar(message.DESCRIPTOR.name, field, node, source)
    listed = field.default_value == []
    one = type(message)() if listed else message
    try:
        ParseDict({field.name: [value] if listed else value}, one)
    except ParseError as error:
        raise bad(place(node, source), f"{field.name!r} must be {_wanted(field)}") from error
    if listed:
        message.MergeFrom(one)


def _scalar(message: str, field: Any, node: yaml.Node, source: str) -> Any:
    """As ProtoJSON has it."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _full_name(message, field.name, scalar_text(node, source), place(node, source))
    if field.message_type is not None:
        return scalar_text(node, source)
    value = _natural(node)
    if field.enum_type is None or not isinstance(value, str):
        return value
    prefix = enum_prefix(field)
    return f"{prefix}{value.upper().removeprefix(prefix)}"


def _wanted(field: Any) -> str:
    if field.message_type is not None:
        return _TIMES[field.message_type]
    if field.enum_type is not None:
        prefix = enum_prefix(field)
        return f"one of {', '.join(name.removeprefix(prefix) for name in field.enum_type.values_by_name)}"
    return _WANTED.get(field.cpp_type, str(field.name))


def _natural(node: yaml.Node) -> Any:
    """What YAML itself makes of a scalar; nothing good of anything else, and ParseDict says so."""
    if not isinstance(node, yaml.ScalarNode):
        return []
    return yaml.constructor.SafeConstructor().construct_object(node)


def _full_name(message: str, field: str, text: str, where: str) -> str:
    kind = REFERENCES.get((message, field))
    return text if kind is None else named(kind, text, where)


def named(kind: Kind, text: str, where: str) -> str:
    """The full name of a resource. Raises: Invalid(BAD_SPEC) with the place."""
    try:
        return kind.parse(text)
    except MeshError as error:
        raise Invalid("BAD_SPEC", f"{where}: {error.message}", error.hint) from error


def scalar_text(node: yaml.Node, source: str) -> str:
    """The characters of a scalar. Raises: Invalid(BAD_SPEC) where there are none."""
    if not isinstance(node, yaml.ScalarNode):
        raise bad(place(node, source), "a single value is expected here")
    if _is_null(node):
        raise bad(place(node, source), "a value is missing here", 'leave the key out, or write "" for an empty text')
    return str(node.value)


def unknown_key(entry: Entry, known: Iterable[str]) -> Invalid:
    """The error for a key that means nothing here, with the nearest one that does."""
    choices = list(known)
    near = difflib.get_close_matches(entry.key, choices, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return bad(entry.where, f"{entry.key!r} is no key here{meant}", f"known here: {', '.join(choices)}")


def bad(where: str, message: str, hint: str = REFERENCE) -> Invalid:
    return Invalid("BAD_SPEC", f"{where}: {message}", hint)


def place(node: yaml.Node, source: str) -> str:
    """`specs/tower.yaml:12`."""
    return f"{source}:{node.start_mark.line + 1}"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL
