"""The header compression, against PyPI's hpack.

A script is a row of steps: an opcode (1), a length (2), bytes. Blocks go to both decoders. Where both take a block,
they must understand the same; ours may be stricter about limits that RFC 7541 leaves open, never laxer. Lists go
through our encoder, and must come back from both.
"""

import hpack as theirs

from tests.fuzz.compressed import Op, seeds
from waypost.wire import hpack
from waypost.wire.faults import ErrorCode, Fault, Malformed
from waypost.wire.heads import request, response, trailers

__all__ = ["play", "seeds"]
SCRIPT_BYTES_MAX = 4096
LIST_BYTES_MAX = 1 << 16


class Player:
    def __init__(self, script: bytes) -> None:
        self._script = script
        self._ours, self._theirs = hpack.Decoder(), theirs.Decoder(max_header_list_size=1 << 24)
        self._encoder, self._reader, self._other_reader = hpack.Encoder(), hpack.Decoder(), theirs.Decoder()

    def play(self) -> None:
        at = 0
        while at < len(self._script):
            op = Op(self._script[at] % len(Op))
            size = int.from_bytes(self._script[at + 1 : at + 3].ljust(2, b"\0"), "big")
            argument = self._script[at + 3 : at + 3 + size]
            at += 3 + size
            if op is Op.DECODE:
                if not self._decode(argument):
                    return
            elif op is Op.ENCODE:
                self._encode(tuple(_pairs(argument)))
            elif op is Op.RESIZE:
                self._encoder.resize(int.from_bytes(argument[:3], "big"))
            else:
                self._allow(int.from_bytes(argument[:2], "big"))

    def _allow(self, size: int) -> None:
        self._ours.allow(size)
        self._theirs.max_allowed_table_size = size

    def _decode(self, block: bytes) -> bool:
        """→ whether the conversation can go on."""
        try:
            fields = self._ours.decode(block, LIST_BYTES_MAX)
        except Fault as fault:
            if fault.code is not ErrorCode.COMPRESSION_ERROR:
                raise
            return False
        expected = [tuple(pair) for pair in self._theirs.decode(block, raw=True)]
        if fields is None:
            assert sum(len(name) + len(value) + 32 for name, value in expected) > LIST_BYTES_MAX
        else:
            assert [(field.name, field.value) for field in fields] == expected
            for judge in (request, response, trailers):
                try:
                    judge(fields)
                except Malformed:
                    continue
        return True

    def _encode(self, pairs: tuple[tuple[bytes, bytes], ...]) -> None:
        block = self._encoder.update() + self._encoder.encode(pairs)
        for reader in (self._reader, self._other_reader):
            decoded = reader.decode(block, LIST_BYTES_MAX) if reader is self._reader else reader.decode(block, raw=True)
            assert decoded is not None
            assert [(field[0], field[1]) for field in decoded] == list(pairs)


def _pairs(argument: bytes) -> list[tuple[bytes, bytes]]:
    strings = []
    at = 0
    while at < len(argument):
        size = argument[at]
        strings.append(argument[at + 1 : at + 1 + size])
        at += 1 + size
    return list(zip(strings[::2], strings[1::2], strict=False))


def play(script: bytes) -> None:
    Player(script).play()
