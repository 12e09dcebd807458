"""Header blocks and lists, as `fuzz_hpack` reads them."""

from enum import IntEnum

from tests.fuzz.steps import size


class Op(IntEnum):
    DECODE = 0  # a block
    ALLOW = 1  # the table's size, in as many bytes as there are
    ENCODE = 2  # names and values, each led by its length (1)
    RESIZE = 3  # as ALLOW, for the encoder


def step(code: Op, argument: bytes) -> bytes:
    return bytes([code]) + size(len(argument)) + argument


def listed(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"".join(bytes([len(string)]) + string for pair in pairs for string in pair)


REQUESTS = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
HPACK_BLOCKS = {
    "indexed": "828684",
    "literal": "400a637573746f6d2d6b65790d637573746f6d2d686561646572be",
    "literal without indexing": "040c2f73616d706c652f70617468",
    "never indexed": "100870617373776f726406736563726574",
    "long index": "40016101623f00ff00",
    "name from the dynamic table": "40016101627e0163be",
    "value of 127 bytes": "0001617f00" + "78" * 127,
    "size updates": "203fe11f82",
    "smaller table": "3f2182" + "4001610162" * 3,
    "larger than the table": "20" + "4001610162",
    "index 0": "80",
    "index too large": "be",
    "name too large": "7f8001",
    "update too late": "8220",
    "update too large": "3fe220",
    "padding too long": "0001618118" + "0001" + "6182" + "1fff",
    "padding of zeroes": "0001618118",
    "eos in the first half": "00016185ffffffff1f",
    "eos in the second half": "000161851fffffffff",
    "cut integer": "ff",
    "long integer": "ff808080808080",
    "cut string": "400161",
    "cut value": "4001610562",
    "cut name": "40",
    "connection header": "000a636f6e6e656374696f6e05636c6f7365",
    "large list": "4001617fb11f" + "78" * 4000 + "be" * 20,
}


def seeds() -> dict[str, bytes]:
    pairs = listed(
        (b":method", b"POST"), (b"x-a", b"1"), (b"authorization", b"x"), (b"x-large", b"v" * 200), (b":path", b"/")
    )
    many = b"".join(step(Op.ENCODE, listed((b"x-n", b"%d" % number * 40), (b":path", b"/a"))) for number in range(99))
    return {
        **{f"block, {name}": step(Op.DECODE, bytes.fromhex(block)) * 2 for name, block in HPACK_BLOCKS.items()},
        "requests": b"".join(step(Op.DECODE, bytes.fromhex(block)) for block in REQUESTS),
        "smaller table is due": step(Op.ALLOW, size(100)) + step(Op.DECODE, b"\x82"),
        "smaller table is told": step(Op.ALLOW, size(100)) + step(Op.DECODE, b"\x3f\x45\x82"),
        "lists": step(Op.ENCODE, pairs) * 3,
        "many lists": many,
        "same names": b"".join(step(Op.ENCODE, listed(*((b":status", b"200"),) * number)) for number in range(70)),
        "resized": step(Op.ENCODE, pairs)
        + b"".join(
            step(Op.RESIZE, size(to)) + step(Op.RESIZE, size(4096)) + step(Op.ENCODE, pairs)
            for to in (0, 60, 300, 4096)
        ),
    }
