"""Length-prefixed messages, in any cut, and what hostile lengths and gzips come to."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.wire.messages import (
    GATHER_BYTES_MIN,
    GZIP,
    IDENTITY,
    MESSAGE_BYTES_MAX,
    MessageReader,
    only_message,
    pack,
    prefix,
    unpack,
)
from waypost.wire.status import CallError, Status


class Room:
    """The simplest place for a large message."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.gathered = bytearray()

    @property
    def filled(self) -> int:
        return len(self.gathered)

    @property
    def complete(self) -> bool:
        return self.filled == self.size

    def add(self, data: bytes | memoryview) -> int:
        taken = data[: self.size - self.filled]
        self.gathered += taken
        return len(taken)

    def message(self) -> memoryview:
        return memoryview(self.gathered).toreadonly()


def whole(reader: MessageReader) -> list[tuple[bool, bytes | memoryview]]:
    return list(iter(reader.next, None))


def refused(body: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> Status:
    reader = MessageReader(bytes_max)
    reader.feed(body)
    with pytest.raises(CallError) as caught:
        reader.next()
    return caught.value.status


SIZES = st.integers(0, 300) | st.sampled_from([GATHER_BYTES_MIN - 1, GATHER_BYTES_MIN, GATHER_BYTES_MIN + 1])
MESSAGES = st.lists(st.tuples(SIZES, st.binary(min_size=1, max_size=1), st.booleans()), max_size=5)
CUTS = st.lists(st.integers(1, 40) | st.sampled_from([5000, 1 << 20]), min_size=1)


@given(MESSAGES, CUTS, st.booleans(), st.booleans())
def test_messages_come_back_from_any_cut(sent, cuts, gathered, eager):
    """eager: whether somebody asks for the next message after each piece, or once at the end."""
    messages = [(flag, letter * size) for size, letter, flag in sent]
    body = b"".join(prefix(len(message), compressed=flag) + message for flag, message in messages)
    reader, found, at, turn = MessageReader(gather=Room if gathered else None), [], 0, 0
    while at < len(body):
        size = max(cuts[turn % len(cuts)], len(body) // 200)
        reader.feed(body[at : at + size])
        at, turn = at + size, turn + 1
        if eager:
            found += whole(reader)
    found += whole(reader)
    reader.finish()
    assert found == messages
    assert (reader.held_bytes, reader.used) == (0, len(body))


def test_nothing_is_read_before_somebody_asks():
    reader = MessageReader()
    reader.feed(prefix(5) + b"hello" + prefix(1))
    assert (reader.held_bytes, reader.used) == (15, 0)
    assert reader.next() == (False, b"hello")
    assert (reader.held_bytes, reader.used) == (5, 10)
    assert reader.next() is None


def test_a_large_message_lies_where_it_is_gathered():
    rooms: list[Room] = []

    def gather(size: int) -> Room:
        rooms.append(Room(size))
        return rooms[-1]

    reader = MessageReader(gather=gather)
    reader.feed(prefix(GATHER_BYTES_MIN, compressed=True) + b"ab")
    assert reader.next() is None
    assert (rooms[0].gathered, reader.held_bytes, reader.used) == (b"ab", 2, 7)
    reader.feed(bytes(GATHER_BYTES_MIN - 2) + prefix(1))
    assert (reader.held_bytes, reader.used) == (GATHER_BYTES_MIN + 5, GATHER_BYTES_MIN + 5)
    flag, message = reader.next()
    assert flag
    assert message.obj is rooms[0].gathered
    assert len(rooms) == 1


def test_a_body_that_is_one_message_is_read_at_once():
    assert only_message(prefix(5) + b"hello") == b"hello"
    assert only_message(prefix(0)) == b""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        prefix(5)[:4],
        prefix(5) + b"hell",
        prefix(5) + b"hello!",
        prefix(5, compressed=True) + b"hello",
        prefix(MESSAGE_BYTES_MAX + 1) + bytes(MESSAGE_BYTES_MAX + 1),
    ],
)
def test_any_other_body_is_left_to_the_reader(body):
    assert only_message(body) is None


def test_a_length_above_the_limit_is_refused_before_anything_is_gathered():
    assert refused(prefix(101), bytes_max=100) is Status.RESOURCE_EXHAUSTED
    reader = MessageReader(bytes_max=100)
    reader.feed(prefix(100) + b"x" * 100)
    assert reader.next() == (False, b"x" * 100)


def test_what_is_packed_is_unpacked():
    head, packed = pack(b"x" * 1000, GZIP)
    reader = MessageReader()
    reader.feed(head + packed)
    assert reader.next() == (True, packed)
    assert unpack(packed, GZIP) == unpack(memoryview(packed), GZIP) == b"x" * 1000
    assert pack(b"hi") == (prefix(2), b"hi")


def test_a_kilobyte_does_not_become_a_gigabyte():
    with pytest.raises(CallError) as caught:
        unpack(gzip.compress(bytes(50 << 20)), GZIP)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    assert unpack(gzip.compress(bytes(100)), GZIP, 100) == bytes(100)


@pytest.mark.parametrize(
    "packed",
    [
        b"no gzip",
        zlib.compress(b"zlib is not gzip"),
        gzip.compress(b"cut")[:-3],
        gzip.compress(b"one") + gzip.compress(b"two"),
        b"",
    ],
    ids=["plain", "zlib", "cut", "two in a row", "empty"],
)
def test_what_is_no_gzip_is_refused(packed):
    with pytest.raises(CallError) as caught:
        unpack(packed, GZIP, 1000)
    assert caught.value.status is Status.INTERNAL


@pytest.mark.parametrize(("encoding", "status"), [(IDENTITY, Status.INTERNAL), (b"snappy", Status.UNIMPLEMENTED)])
def test_a_message_may_be_compressed_only_as_the_call_says_and_we_know(encoding, status):
    with pytest.raises(CallError) as caught:
        unpack(gzip.compress(b"x"), encoding)
    assert caught.value.status is status


def test_the_flag_is_0_or_1():
    assert refused(b"\x02\0\0\0\0") is Status.INTERNAL


@pytest.mark.parametrize(
    "cut", [prefix(5)[:3], prefix(5), prefix(5) + b"hell", prefix(1 << 20), prefix(1 << 20) + b"x"]
)
def test_a_body_may_not_end_inside_a_message(cut):
    reader = MessageReader(gather=Room)
    reader.feed(prefix(1) + b"x" + cut)
    assert whole(reader) == [(False, b"x")]
    with pytest.raises(CallError, match="inside a message"):
        reader.finish()


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_messages_or_refused_and_stay_within_the_limit(pieces):
    reader = MessageReader(bytes_max=100)
    try:
        for piece in pieces:
            reader.feed(piece)
            assert all(len(message) <= 100 for _, message in whole(reader))
            assert reader.held_bytes <= 104
    except CallError as error:
        assert error.status in (Status.INTERNAL, Status.RESOURCE_EXHAUSTED)  # noqa: PT017
