"""The memory of header blocks: what it may answer with, and what it may hold."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.wire.peers import GET
from waypost.wire import Limits, heads
from waypost.wire.blocks import BlockReader
from waypost.wire.hpack import encode, encode_integer

INSERT = b"\x40\x03x-a\x01%d"  # with incremental indexing


def reader(**limits: int) -> BlockReader:
    return BlockReader(Limits(**limits), heads.request)


def test_a_block_seen_before_is_the_same_head():
    blocks = reader()
    assert blocks.head(encode(GET)) is blocks.head(encode(GET))
    assert blocks.heads[encode(GET)] is blocks.head(encode(GET))


def test_a_block_that_changes_the_table_is_read_each_time():
    blocks = reader()
    block = encode(GET) + INSERT % 1
    assert blocks.head(block) is not blocks.head(block)


def test_a_changed_table_empties_the_memory():
    blocks = reader()
    blocks.head(encode(GET) + INSERT % 1)
    newest = encode(GET) + b"\xbe"
    assert blocks.head(newest).get(b"x-a") == b"1"
    blocks.skip(INSERT % 2)
    assert blocks.head(newest).get(b"x-a") == b"2"
    blocks.skip(encode_integer(0, 0x1F, 0x20))
    assert not blocks.heads


def test_heads_and_trailers_do_not_mix():
    blocks = reader()
    block = encode([(b"x-a", b"1")])
    assert blocks.tail(block) is blocks.tail(block)
    assert block not in blocks.heads


def test_a_smaller_table_is_insisted_on_even_for_blocks_seen_before():
    blocks = reader()
    blocks.head(encode(GET))
    blocks.allow(100)
    assert not blocks.heads


@given(st.lists(st.integers(0, 50), max_size=200))
def test_the_memory_is_bounded_in_blocks_and_bytes(numbers):
    blocks = reader(heads_remembered=5, heads_remembered_bytes=300)
    for number in numbers:
        assert blocks.head(encode((*GET, (b"x-a", b"%d" % number * number)))).get(b"x-a") == b"%d" % number * number
        assert len(blocks.heads) <= 5
        assert sum(map(len, blocks.heads)) <= 300 or len(blocks.heads) == 1
