"""Messages of any type, made up by hypothesis from its descriptor: mostly well-formed, full of odd values."""

import math
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

DEPTH_MAX = 3  # of messages in messages: some of ours hold themselves
REPEATED_MAX = 3

NAMES = (
    "projects/hostile",
    "projects/hostile/applications/a",
    "projects/hostile/applications/a/positions/p",
    "projects/hostile/applications/a/models/m/versions/1",
    "projects/none/applications/none",
    "projects/-/applications/-",
    "projects//applications/",
    "projects/UPPER",
    "projects/../../etc/passwd",
    "edgeServers/edge-1",
    "edgeServers/none",
    "users/none",
    "subscriptions/none",
    "projects/" + "a" * 5000,
)
WORDS = (
    "",
    "a",
    "edge-1",
    "1",
    "-1",
    "*",
    "%s",
    "'; --",
    "\0",
    "\x7f",
    "\u202e",
    "é" * 300,
    "{}",
    "null",
    "sha256:" + "0" * 64,
)
ADDRESSES = ("", "127.0.0.1:1", "localhost:0", "unix:/nowhere", "127.0.0.1:99999", ":", "\0")
"""Nothing is dialled but this machine."""

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def requests(descriptor: Any) -> st.SearchStrategy[bytes]:
    """Serialized messages of a type, now and then with bytes that are none."""
    whole = _messages(descriptor, DEPTH_MAX).map(lambda message: message.SerializeToString())
    damaged = st.tuples(whole, st.binary(max_size=40)).map(b"".join)
    return st.one_of(whole, whole, whole, damaged, st.binary(max_size=200))


def _messages(descriptor: Any, depth: int) -> st.SearchStrategy[Message]:
    fields = {
        field.name: _field(field, depth)
        for field in descriptor.fields
        if depth > 0 or field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE
    }
    made = st.fixed_dictionaries({}, optional=fields)
    return made.map(lambda values: _filled(GetMessageClass(descriptor)(), values))


def _filled(message: Message, values: dict[str, Callable[[Message], None]]) -> Message:
    for fill in values.values():
        fill(message)
    return message


def _field(field: Any, depth: int) -> st.SearchStrategy[Callable[[Message], None]]:
    """Functions that put a value into this field of a message."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.lists(st.tuples(_values(key, 0), _values(value, depth - 1)), max_size=REPEATED_MAX).map(
            lambda pairs: lambda message: _put_pairs(getattr(message, field.name), pairs)
        )
    if field.is_repeated:
        return st.lists(_values(field, depth - 1), max_size=REPEATED_MAX).map(
            lambda values: lambda message: getattr(message, field.name).extend(values)
        )
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return _values(field, depth - 1).map(lambda value: lambda message: getattr(message, field.name).CopyFrom(value))
    return _values(field, depth).map(lambda value: lambda message: setattr(message, field.name, value))


def _put_pairs(container: Any, pairs: list[tuple[Any, Any]]) -> None:
    for key, value in pairs:
        if isinstance(value, Message):
            container[key].CopyFrom(value)
        else:
            container[key] = value


def _values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _messages(field.message_type, depth)
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        return st.one_of(st.sampled_from((low, high, 0, 1)), st.integers(low, high))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        numbers = [value.number for value in field.enum_type.values]
        return st.sampled_from([*numbers, 9999, -1])
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.one_of(st.sampled_from((math.nan, math.inf, -math.inf, 0.0)), st.floats())
    if kind == FieldDescriptor.CPPTYPE_FLOAT:
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=100)
    if "address" in field.name or "endpoint" in field.name:
        return st.sampled_from(ADDRESSES)
    return st.one_of(st.sampled_from(NAMES), st.sampled_from(WORDS), st.text(st.characters(codec="utf-8"), max_size=40))
