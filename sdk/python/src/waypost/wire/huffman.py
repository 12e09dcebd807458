"""Huffman-coded strings (RFC 7541, section 5.2 and appendix B).

The code is canonical: shorter codes come first, and among codes of one length the symbols ascend. So the lengths say
everything, and the 257 codes are computed from them.

Decoding walks a finite state machine by half bytes. No code is shorter than five bits, so a half byte ends at most one
symbol. A state is an inner node of the code's tree, numbered by 16 so that `state + half` is the place in both tables.

There is no encoder. What we send repeatedly takes one byte from a table (`waypost.wire.hpack`), and a plain string
costs the peer less time than the few bytes saved are worth on the networks Waypost runs on.
"""

from waypost.wire.faults import ErrorCode, Fault

EOS = 256

_SYMBOLS: dict[int, list[int]] = {
    5: [*b"012aceiost"],
    6: [*b" %-./3456789=A_bdfghlmnpru"],
    7: [*b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"],
    8: [*b"&*,;XZ"],
    10: [*b'!"()?'],
    11: [*b"'+|"],
    12: [*b"#>"],
    13: [*b"\x00$@[]~"],
    14: [*b"^}"],
    15: [*b"<`{"],
    19: [*bytes.fromhex("5cc3d0")],
    20: [*bytes.fromhex("808283a2b8c2e0e2")],
    21: [*bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6")],
    22: [*bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9")],
    23: [*bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef")],
    24: [*bytes.fromhex("098e9091949fabced7e1eced")],
    25: [*bytes.fromhex("c7cfeaeb")],
    26: [*bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff")],
    27: [*bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe")],
    28: [*bytes.fromhex("020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9")],
    30: [10, 13, 22, EOS],
}

_PADDING_BITS_MAX = 7  # section 5.2: longer padding is an error
_NOTHING = -1  # this half byte ended no symbol
_WRONG = -2  # it ran into EOS, which no string may contain


def codes() -> dict[int, tuple[int, int]]:
    """symbol → (code, bits), appendix B."""
    found: dict[int, tuple[int, int]] = {}
    code = bits = 0
    for length, symbols in _SYMBOLS.items():
        code <<= length - bits
        bits = length
        for symbol in symbols:
            found[symbol] = code, bits
            code += 1
    return found


def _tree() -> list[list[int]]:
    """Inner nodes as [child for 0, child for 1]; a leaf is ~symbol, which is negative."""
    nodes = [[0, 0]]
    for symbol, (code, bits) in codes().items():
        node = 0
        for shift in range(bits - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[node][bit]:
                nodes[node][bit] = len(nodes)
                nodes.append([0, 0])
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
    return nodes


def _machine(nodes: list[list[int]]) -> tuple[list[int], list[int]]:
    """state + half byte → next state, and → symbol ended on the way."""
    following, ended = [], []
    for start in range(len(nodes)):
        for half in range(16):
            node, symbol = start, _NOTHING
            for shift in (3, 2, 1, 0):
                node = nodes[node][half >> shift & 1]
                if node < 0:
                    symbol, node = (~node, 0) if node != ~EOS else (_WRONG, 0)
            following.append(node << 4)
            ended.append(symbol)
    return following, ended


def _paddings(nodes: list[list[int]]) -> frozenset[int]:
    """States in which a string may end: nothing but ones, fewer than eight, since the last symbol."""
    node, states = 0, [0]
    for _ in range(_PADDING_BITS_MAX):
        node = nodes[node][1]
        states.append(node << 4)
    return frozenset(states)


_NODES = _tree()
_NEXT, _ENDED = _machine(_NODES)
_FINAL = _paddings(_NODES)


def decode(coded: bytes) -> bytes:
    """The string. Raises Fault COMPRESSION_ERROR for EOS inside, and for padding that is too long or not all ones."""
    state = 0
    out = bytearray()
    following, ended = _NEXT, _ENDED
    for byte in coded:
        at = state + (byte >> 4)
        symbol = ended[at]
        if symbol >= 0:
            out.append(symbol)
        elif symbol == _WRONG:
            raise _invalid("EOS inside")
        at = following[at] + (byte & 15)
        symbol = ended[at]
        if symbol >= 0:
            out.append(symbol)
        elif symbol == _WRONG:
            raise _invalid("EOS inside")
        state = following[at]
    if state not in _FINAL:
        raise _invalid("padding is not the first bits of EOS, or longer than seven bits")
    return bytes(out)


def _invalid(what: str) -> Fault:
    return Fault(ErrorCode.COMPRESSION_ERROR, "HUFFMAN_INVALID", f"Huffman-coded string: {what}")
