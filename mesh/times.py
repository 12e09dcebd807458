"""Times in messages: made and read as seconds, and refused where they are none.

A `google.protobuf.Timestamp` or `Duration` carries any number of seconds; those outside their range (years 1 to 9999,
10,000 years) fail whoever reads them as a time, somewhere deep in a service. They are refused at the door instead.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from waypost.errors import Invalid

SECONDS = {
    "google.protobuf.Timestamp": (-62_135_596_800, 253_402_300_799),  # 0001-01-01 to 9999-12-31, timestamp.proto
    "google.protobuf.Duration": (-315_576_000_000, 315_576_000_000),  # duration.proto
}
NANOS_MAX = 999_999_999


def timestamp(unix_s: float) -> Timestamp:
    """To the millisecond: what `mesh.clock.now()` says in the form of messages."""
    made = Timestamp()
    made.FromMilliseconds(round(unix_s * 1000))
    return made


def duration(span_s: float) -> Duration:
    """To the millisecond."""
    made = Duration()
    made.FromMilliseconds(round(span_s * 1000))
    return made


def seconds(message: Timestamp | Duration) -> float:
    """Since 1970, or of a span: whole milliseconds, rounded down. 0 for one that is not set."""
    return message.ToMilliseconds() / 1000


def refuse_bad_times(request: Message) -> None:
    """Raises: Invalid(BAD_TIME) naming the field."""
    for path, message in _times(request, ""):
        low, high = SECONDS[message.DESCRIPTOR.full_name]
        if not (low <= message.seconds <= high and abs(message.nanos) <= NANOS_MAX) or _mixed(message):
            raise Invalid(
                "BAD_TIME",
                f"{path} is no {message.DESCRIPTOR.name}: {message.seconds} s and {message.nanos} ns",
                "seconds count from 1970; nanoseconds are below a second, and of a span's own sign",
                field=path,
            )


def _mixed(message: Any) -> bool:
    """A Timestamp's nanoseconds count forwards; a Duration's have the sign of its seconds."""
    if message.DESCRIPTOR.name == "Timestamp":
        return bool(message.nanos < 0)
    return bool(message.seconds * message.nanos < 0)


def _times(message: Message, path: str) -> Iterator[tuple[str, Any]]:
    if message.DESCRIPTOR.full_name in SECONDS:
        yield path, message
    elif _has_times(message.DESCRIPTOR):
        for field, value in message.ListFields():
            if field.message_type is not None:
                for each in _messages(field, value):
                    yield from _times(each, f"{path}.{field.name}" if path else field.name)


def _messages(field: Any, value: Any) -> Iterator[Message]:
    if isinstance(value, Message):
        yield value
    elif field.message_type.GetOptions().map_entry:
        yield from (each for each in value.values() if isinstance(each, Message))
    else:
        yield from value


@cache
def _has_times(descriptor: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Whether messages of this type may hold times, at any depth."""
    if descriptor.full_name in SECONDS:
        return True
    within = seen | {descriptor.full_name}
    types = (field.message_type for field in descriptor.fields if field.message_type is not None)
    return any(_has_times(each, within) for each in types if each.full_name not in within)
