"""HPACK: header lists to bytes and back (RFC 7541). No knowledge of frames or of what the fields mean.

A `Decoder` lives as long as its connection: every block changes or uses its dynamic table, so blocks must come whole,
each once, in order. `version` counts the changes of the table; as long as it stands still, equal bytes mean equal
lists, which is what `waypost.wire.blocks` remembers blocks by.

Two ways to encode. `encode` uses the static table only: its bytes are good on every connection for ever, which makes
precomputed answers possible. An `Encoder` also fills the peer's table, so that a client's repeated metadata takes one
byte each. Credentials are never put into a table, here or further on (section 7.1.3). Strings are sent plain.

Everything invalid is a `Fault` COMPRESSION_ERROR, which ends the connection: the two ends no longer agree about the
table (RFC 9113, section 4.3).
"""

from waypost.wire import huffman
from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.fields import ENTRY_OVERHEAD_BYTES, STATIC, Field, Pairs, field

TABLE_BYTES_DEFAULT = 4096  # RFC 9113, section 6.5.2, SETTINGS_HEADER_TABLE_SIZE

SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
"""Names whose values are never indexed: a shared table would let a guesser learn them (section 7.1)."""

_INTEGER_BYTES_MAX = 5  # a prefix and five bytes hold 2**35, more than any length here
_BLOCKS_REMEMBERED_MAX = 64  # a client calls few methods with few sets of metadata
_DYNAMIC = len(STATIC) + 1  # index of the newest entry of the dynamic table (section 2.3.3)

_STATIC_PAIRS = {(entry.name, entry.value): index for index, entry in reversed(list(enumerate(STATIC, 1)))}
_STATIC_NAMES = {entry.name: index for index, entry in reversed(list(enumerate(STATIC, 1)))}


def _invalid(message: str) -> Fault:
    return Fault(ErrorCode.COMPRESSION_ERROR, "HPACK_INVALID", message)


def decode_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """Section 5.1, from behind a prefix that was all ones. → (value, offset behind it)"""
    shift = 0
    value = prefix
    for offset in range(at, at + _INTEGER_BYTES_MAX):
        if offset >= len(block):
            raise _invalid("the block ends inside an integer")
        byte = block[offset]
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise _invalid(f"an integer takes more than {_INTEGER_BYTES_MAX} bytes")


def decode_string(block: bytes, at: int) -> tuple[bytes, int]:
    """Section 5.2. → (string, offset behind it)"""
    if at >= len(block):
        raise _invalid("the block ends before a string")
    first = length = block[at]
    at += 1
    if first >= 0x7F:
        length &= 0x7F
        if length == 0x7F:
            length, at = decode_integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise _invalid("the block ends inside a string")
    raw = block[at:end]
    return (huffman.decode(raw) if first >= 0x80 else raw), end


class Decoder:
    """The receiving end of one direction of one connection.

    table_bytes_max: what our SETTINGS_HEADER_TABLE_SIZE allows the peer, see `allow`.
    """

    __slots__ = ("_allowed", "_bytes", "_bytes_max", "_table", "_update_due", "version")

    def __init__(self) -> None:
        self.version = 0
        # Index 0 is no field, whatever stands there; then the static table; then the dynamic table, newest first. One
        # list for all of it makes an indexed field one look. At most 128 entries move when one is put in.
        self._table: list[Field] = [STATIC[0], *STATIC]
        self._bytes = 0
        self._bytes_max = TABLE_BYTES_DEFAULT
        self._allowed = TABLE_BYTES_DEFAULT
        self._update_due = False

    @property
    def table_bytes(self) -> int:
        return self._bytes

    def allow(self, table_bytes_max: int) -> None:
        """Our SETTINGS_HEADER_TABLE_SIZE was acknowledged; a smaller one obliges the peer (RFC 9113, 4.3.1)."""
        self._allowed = table_bytes_max
        self._update_due = table_bytes_max < self._bytes_max

    def decode(self, block: bytes, list_bytes_max: int) -> list[Field] | None:
        """The list, or None if its size is above `list_bytes_max`: the table is kept right all the same.

        Raises Fault COMPRESSION_ERROR.
        """
        at, end = self._updates(block), len(block)
        table = self._table
        fields: list[Field] = []
        while at < end:
            byte = block[at]
            at += 1
            if 0x80 < byte < 0xFF and byte & 0x7F < len(table):  # nearly every field of a warm client
                fields.append(table[byte & 0x7F])
            elif byte == 0xFF:
                index, at = decode_integer(block, at, 0x7F)
                fields.append(self._entry(index))
            elif byte >= 0x80:
                fields.append(self._entry(byte & 0x7F))
            else:
                entry, at = self._literal(block, at, byte)
                fields.append(entry)
        return fields if sum([entry.size for entry in fields]) <= list_bytes_max else None

    def _updates(self, block: bytes) -> int:
        """Dynamic table size updates, which stand at the beginning or nowhere (section 4.2)."""
        at = 0
        while at < len(block) and block[at] & 0xE0 == 0x20:
            size = block[at] & 0x1F
            at += 1
            if size == 0x1F:
                size, at = decode_integer(block, at, 0x1F)
            self._resize(size)
        if self._update_due:
            raise _invalid("no table size update after the table was made smaller")
        return at

    def _resize(self, size: int) -> None:
        if size > self._allowed:
            raise _invalid(f"table size {size} is above {self._allowed}, which we allow")
        self._update_due = False
        self._bytes_max = size
        self._evict(0)
        self.version += 1

    def _literal(self, block: bytes, at: int, byte: int) -> tuple[Field, int]:
        """Section 6.2: 01 with incremental indexing, 0000 without, 0001 never indexed; 001 is misplaced here."""
        if byte & 0xE0 == 0x20:
            raise _invalid("a table size update behind the beginning of a block")
        prefix = 0x3F if byte & 0x40 else 0x0F
        index = byte & prefix
        if index == prefix:
            index, at = decode_integer(block, at, prefix)
        if index:
            name = self._entry(index).name
        else:
            name, at = decode_string(block, at)
        value, at = decode_string(block, at)
        entry = field(name, value)
        if byte & 0x40:
            self._insert(entry)
        return entry, at

    def _entry(self, index: int) -> Field:
        if 0 < index < len(self._table):
            return self._table[index]
        raise _invalid(f"index {index} is in neither table")

    def _insert(self, entry: Field) -> None:
        """Section 4.4: an entry larger than the table empties it, which is no error."""
        self.version += 1
        self._evict(entry.size)
        if entry.size <= self._bytes_max:
            self._table.insert(_DYNAMIC, entry)
            self._bytes += entry.size

    def _evict(self, wanted: int) -> None:
        while self._bytes + wanted > self._bytes_max and len(self._table) > _DYNAMIC:
            self._bytes -= self._table.pop().size


def encode_integer(value: int, prefix: int, pattern: int) -> bytes:
    """Section 5.1. prefix: its greatest value, e.g. 0x7F for seven bits; pattern: the bits before it."""
    if value < prefix:
        return bytes((pattern | value,))
    out = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_string(raw: bytes) -> bytes:
    return encode_integer(len(raw), 0x7F, 0) + raw


def _encode_literal(name: bytes, value: bytes, index: int) -> bytes:
    """Without indexing, or never indexed. index: where the name stands in a table, or 0."""
    head = encode_integer(index, 0x0F, 0x10 if name in SECRET else 0)
    return head + (b"" if index else _encode_string(name)) + _encode_string(value)


def _encode_static(name: bytes, value: bytes) -> bytes:
    known = _STATIC_PAIRS.get((name, value))
    if known is not None and name not in SECRET:
        return encode_integer(known, 0x7F, 0x80)
    return _encode_literal(name, value, _STATIC_NAMES.get(name, 0))


def encode(pairs: Pairs) -> bytes:
    """A block that needs no dynamic table, and leaves it alone."""
    return b"".join(_encode_static(name, value) for name, value in pairs)


class Encoder:
    """The sending end of one direction of one connection. Blocks must leave in the order they were encoded.

    What differs from call to call does not belong into the table: send it with the module's `encode`, appended to a
    block from here. `update_due`: a table size update must open the next block, whoever encodes it.
    """

    __slots__ = ("_blocks", "_bytes", "_bytes_max", "_entries", "_inserted", "_lowest", "update_due")

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, bytes], tuple[int, int]] = {}  # pair → (its insertion, size), oldest first
        self._blocks: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
        self._inserted = 0
        self._bytes = 0
        self._bytes_max = TABLE_BYTES_DEFAULT
        self.update_due = False
        self._lowest = TABLE_BYTES_DEFAULT

    def resize(self, table_bytes_max: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. We never use more than the default, however much it allows."""
        size = min(table_bytes_max, TABLE_BYTES_DEFAULT)
        if size == self._bytes_max:
            return
        self._lowest = min(self._lowest, size) if self.update_due else size
        self.update_due = True
        self._bytes_max = size
        self._make_room(0)
        self._blocks.clear()

    def update(self) -> bytes:
        """Section 4.2: if the size shrank and grew since the last block, the smallest must be told as well."""
        if not self.update_due:
            return b""
        self.update_due = False
        sizes = sorted({self._lowest, self._bytes_max})
        return b"".join(encode_integer(size, 0x1F, 0x20) for size in sizes)

    def encode(self, pairs: tuple[tuple[bytes, bytes], ...]) -> bytes:
        """The block, without `update`. The same pairs again, while the table stands still, are one look."""
        block = self._blocks.get(pairs)
        if block is not None:
            return block
        before = self._inserted
        block = b"".join([self._encode_pair(pair) for pair in pairs])
        if self._inserted != before or len(self._blocks) >= _BLOCKS_REMEMBERED_MAX:
            self._blocks.clear()
        if self._inserted == before:
            self._blocks[pairs] = block
        return block

    def _encode_pair(self, pair: tuple[bytes, bytes]) -> bytes:
        name, value = pair
        entry = self._entries.get(pair)
        if entry is not None:
            return encode_integer(_DYNAMIC + self._inserted - entry[0], 0x7F, 0x80)
        size = len(name) + len(value) + ENTRY_OVERHEAD_BYTES
        if name in SECRET or pair in _STATIC_PAIRS or size > self._bytes_max // 4:
            return _encode_static(name, value)  # one large entry must not push the small ones out
        self._make_room(size)
        self._inserted += 1
        self._bytes += size
        self._entries[pair] = self._inserted, size
        index = _STATIC_NAMES.get(name, 0)
        return encode_integer(index, 0x3F, 0x40) + (b"" if index else _encode_string(name)) + _encode_string(value)

    def _make_room(self, wanted: int) -> None:
        while self._bytes + wanted > self._bytes_max and self._entries:
            _, size = self._entries.pop(next(iter(self._entries)))
            self._bytes -= size
