"""HPACK against the RFC's own examples, against somebody else's implementation, and against peers that cheat."""

from contextlib import suppress

import hpack as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.wire import hpack
from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.fields import STATIC

LIST_BYTES = 1 << 20

REQUESTS = [  # appendix C.3
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]
RESPONSES = [  # appendix C.5
    [
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"307"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        (b"location", b"https://www.example.com"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]

REQUESTS_PLAIN = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
REQUESTS_HUFFMAN = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
RESPONSES_PLAIN = [
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a"
    "4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
]
RESPONSES_HUFFMAN = [
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5"
    "af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
]


def pairs(fields):
    return [(field.name, field.value) for field in fields]


def failure(block: bytes, decoder: hpack.Decoder | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        (decoder or hpack.Decoder()).decode(block, LIST_BYTES)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR
    return caught.value


@pytest.mark.parametrize(
    ("block", "expected", "table_bytes"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header"), 55),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), 0),
        ("100870617373776f726406736563726574", (b"password", b"secret"), 0),
        ("82", (b":method", b"GET"), 0),
    ],
)
def test_appendix_c2_single_fields(block, expected, table_bytes):
    decoder = hpack.Decoder()
    assert pairs(decoder.decode(bytes.fromhex(block), LIST_BYTES)) == [expected]
    assert decoder.table_bytes == table_bytes


@pytest.mark.parametrize("blocks", [REQUESTS_PLAIN, REQUESTS_HUFFMAN])
def test_appendix_c3_and_c4_requests(blocks):
    decoder = hpack.Decoder()
    for block, expected, table_bytes in zip(blocks, REQUESTS, (57, 110, 164), strict=True):
        assert pairs(decoder.decode(bytes.fromhex(block), LIST_BYTES)) == expected
        assert decoder.table_bytes == table_bytes


@pytest.mark.parametrize("blocks", [RESPONSES_PLAIN, RESPONSES_HUFFMAN])
def test_appendix_c5_and_c6_responses_in_a_table_of_256_bytes(blocks):
    decoder = hpack.Decoder()
    decoder.decode(bytes.fromhex("3fe101"), LIST_BYTES)
    for block, expected, table_bytes in zip(blocks, RESPONSES, (222, 222, 215), strict=True):
        assert pairs(decoder.decode(bytes.fromhex(block), LIST_BYTES)) == expected
        assert decoder.table_bytes == table_bytes


def test_appendix_a_is_the_static_table():
    assert pairs(STATIC) == list(theirs.table.HeaderTable.STATIC_TABLE)


NAMES = st.sampled_from([b":path", b":status", b"te", b"x-a", b"x-b", b"authorization", b"grpc-timeout"])
LISTS = st.lists(
    st.tuples(st.lists(st.tuples(NAMES, st.binary(max_size=40) | st.just(b"v" * 300))), st.sampled_from([None, 0, 99])),
    max_size=12,
)


@given(LISTS, st.booleans())
def test_what_others_encode_we_decode(conversation, compressed):
    encoder, decoder = theirs.Encoder(), hpack.Decoder()
    for fields, table_bytes in conversation:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoder.encode(fields, huffman=compressed)
        assert pairs(decoder.decode(block, LIST_BYTES)) == fields


@given(LISTS)
def test_what_we_encode_others_decode(conversation):
    encoder, decoder = hpack.Encoder(), theirs.Decoder()
    for fields, table_bytes in conversation:
        if table_bytes is not None:
            encoder.resize(table_bytes)
            encoder.resize(table_bytes + 1)
        block = encoder.update() + encoder.encode(tuple(fields)) + hpack.encode(fields[:2])
        assert list(map(tuple, decoder.decode(block, raw=True))) == [*fields, *fields[:2]]


@given(LISTS)
def test_what_we_encode_for_any_connection_leaves_tables_alone(conversation):
    decoder = hpack.Decoder()
    for fields, _ in conversation:
        assert pairs(decoder.decode(hpack.encode(fields), LIST_BYTES)) == fields
    assert decoder.version == 0


def test_repeated_metadata_takes_one_byte_per_field():
    encoder = hpack.Encoder()
    metadata = ((b":method", b"POST"), (b":path", b"/a.B/C"), (b"te", b"trailers"), (b"x-tower", b"7"))
    encoder.encode(metadata)
    assert len(encoder.encode(metadata)) == len(metadata)


def test_credentials_are_never_indexed():
    """Section 7.1.3: not in our table, and the next hop may not put them into one either."""
    encoder = hpack.Encoder()
    for block in (encoder.encode(((b"authorization", b"Bearer x"),)), hpack.encode([(b"authorization", b"")])):
        assert block[0] & 0xF0 == 0x10
    assert encoder.encode(((b"authorization", b"Bearer x"),))[0] & 0xF0 == 0x10


def test_a_large_entry_does_not_push_out_the_small_ones():
    encoder = hpack.Encoder()
    encoder.encode(((b"x-a", b"1"),))
    encoder.encode(((b"x-large", b"v" * 2000),))
    assert len(encoder.encode(((b"x-a", b"1"),))) == 1


def test_the_oldest_entries_make_room_for_new_ones():
    encoder, decoder = hpack.Encoder(), theirs.Decoder()
    for number in range(300):
        fields = ((b"x-number", b"%d" % number), (b"x-a", b"1"))
        assert list(map(tuple, decoder.decode(encoder.encode(fields), raw=True))) == list(fields)


def test_remembered_blocks_are_bounded():
    encoder = hpack.Encoder()
    lists = [((b":status", b"200"),) * count for count in range(1, 200)]
    for fields in lists:
        encoder.encode(fields)
    assert len(encoder._blocks) <= 64


def test_section_4_2_a_table_that_shrank_and_grew_is_told_by_its_smallest_and_its_last_size():
    encoder = hpack.Encoder()
    for size in (4096, 50, 10, 70):
        encoder.resize(size)
    assert encoder.update_due
    assert encoder.update() == hpack.encode_integer(10, 0x1F, 0x20) + hpack.encode_integer(70, 0x1F, 0x20)
    assert encoder.update() == b""


def test_a_peer_that_allows_more_than_the_default_is_not_taken_up_on_it():
    encoder = hpack.Encoder()
    encoder.resize(1 << 20)
    assert not encoder.update_due


@given(st.integers(0, 1 << 32), st.sampled_from([0x0F, 0x1F, 0x3F, 0x7F]))
def test_section_5_1_integers_come_back(value, prefix):
    coded = hpack.encode_integer(value, prefix, 0)
    if coded[0] == prefix:
        assert hpack.decode_integer(coded, 1, prefix) == (value, len(coded))
    else:
        assert coded == bytes([value])


def test_appendix_c1_integers():
    assert hpack.encode_integer(10, 0x1F, 0) == b"\x0a"
    assert hpack.encode_integer(1337, 0x1F, 0) == b"\x1f\x9a\x0a"
    assert hpack.encode_integer(42, 0xFF, 0) == b"\x2a"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("be", id="an index behind the tables"),
        pytest.param("ff808001", id="a large index behind the tables"),
        pytest.param("ff", id="an integer that ends"),
        pytest.param("ff80", id="an integer that ends in its middle"),
        pytest.param("ff808080808001", id="an integer that is padded without end"),
        pytest.param("ffffffffffffffffff01", id="an integer that overflows"),
        pytest.param("40", id="no name"),
        pytest.param("400161", id="no value"),
        pytest.param("40016105", id="a value that ends"),
        pytest.param("7f", id="a name's index that ends"),
        pytest.param("7fff01", id="a name's index behind the tables"),
        pytest.param("8220", id="a size update behind a field"),
        pytest.param("3fe220", id="a table larger than allowed"),
        pytest.param("3f", id="a size update that ends"),
    ],
)
def test_wrong_blocks_are_refused(block):
    assert failure(bytes.fromhex(block)).reason == "HPACK_INVALID"


def test_section_4_4_an_entry_larger_than_the_table_empties_it():
    decoder = hpack.Decoder()
    decoder.decode(bytes.fromhex("400161" + "0162"), LIST_BYTES)
    large = b"\x40\x01c" + hpack.encode_integer(5000, 0x7F, 0) + b"x" * 5000
    assert pairs(decoder.decode(large, LIST_BYTES)) == [(b"c", b"x" * 5000)]
    assert decoder.table_bytes == 0
    failure(b"\xbe", decoder)


def test_a_table_of_size_zero_holds_nothing():
    decoder = hpack.Decoder()
    decoder.decode(bytes.fromhex("20" + "4001610162"), LIST_BYTES)
    assert decoder.table_bytes == 0


def test_rfc_9113_section_4_3_1_a_smaller_table_must_be_acknowledged_by_an_update():
    decoder = hpack.Decoder()
    decoder.allow(100)
    failure(b"\x82", decoder)
    decoder = hpack.Decoder()
    decoder.allow(100)
    failure(hpack.encode_integer(101, 0x1F, 0x20), decoder)
    decoder = hpack.Decoder()
    decoder.allow(100)
    assert decoder.decode(hpack.encode_integer(100, 0x1F, 0x20) + b"\x82", LIST_BYTES)
    assert decoder.decode(b"\x82", LIST_BYTES)


def test_a_list_above_the_limit_is_not_kept_but_its_table_entries_are():
    decoder = hpack.Decoder()
    assert decoder.decode(bytes.fromhex("4001610162"), 33) is None
    assert decoder.table_bytes == 34
    assert pairs(decoder.decode(b"\xbe", 34)) == [(b"a", b"b")]


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(block):
    decoder = hpack.Decoder()
    for _ in range(2):
        with suppress(Fault):
            decoder.decode(block, 500)
        assert decoder.table_bytes <= hpack.TABLE_BYTES_DEFAULT
