"""What one connection may cost, and why as much as that.

Nothing a peer does may make a connection hold more memory than `Limits` says, or work without getting anywhere faster
than its rates allow. Every breach is a `Fault` with a reason of its own, so that an operator can tell a flood of resets
from a client that never reads.

A rate is a bucket of tokens. Time fills it, and so does progress: whoever completes many calls may cancel some, ping
often and open windows in small steps. So a busy peer is never mistaken for a hostile one, and an idle loop of frames
that cost us more than the sender runs dry.
"""

from dataclasses import dataclass

from waypost.wire.faults import ErrorCode, Fault

KIB, MIB = 1 << 10, 1 << 20

SENT_BYTES_MIN = 1 * KIB


@dataclass(frozen=True, slots=True)
class Rate:
    """Of frames without progress. burst: at once; per_s: in the long run; per_progress: more for each step forward.

    A step forward is a stream that ended in the regular way, a DATA frame received that carried something, or one sent
    that carried SENT_BYTES_MIN. Fewer would reward a peer that lets us send byte by byte (CVE-2019-9511).
    """

    burst: float
    per_s: float
    per_progress: float = 0.0


class Meter:
    """One rate at work. reason: of the Fault when it runs dry."""

    __slots__ = ("_at", "_progress", "_rate", "_reason", "tokens")

    def __init__(self, reason: str, rate: Rate, now: float) -> None:
        self._reason = reason
        self._rate = rate
        self.tokens = rate.burst
        """When one was last taken. There may be more by now, never fewer."""
        self._at = now
        self._progress = 0

    def spend(self, now: float, progress: int) -> None:
        """Take one token. progress: steps forward since the beginning. Raises Fault ENHANCE_YOUR_CALM."""
        rate = self._rate
        tokens = self.tokens + (progress - self._progress) * rate.per_progress
        if now > self._at:
            tokens += (now - self._at) * rate.per_s
        if tokens > rate.burst:
            tokens = rate.burst
        self.tokens = tokens - 1
        self._at = now
        self._progress = progress
        if tokens < 1:
            message = f"more than {rate.burst:g} at once or {rate.per_s:g} per second without progress"
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, self._reason, message)


@dataclass(frozen=True, slots=True)
class Limits:
    """One connection's. Bytes, seconds, counts."""

    header_block_bytes: int = 64 * KIB
    """Of one compressed header block, over all its frames; more is a Fault HEADER_BLOCK_TOO_LARGE. Also of any other
    frame but DATA; more is a Fault FRAME_TOO_LARGE.

    Twice the list: no honest encoder makes a block larger than its list.
    """

    header_list_bytes: int = 32 * KIB
    """Of one decoded header list, counted as RFC 9113, section 6.5.2 does. Larger lists cost their stream only, since
    a gateway's one connection carries many clients.

    A token has 500 bytes, gateways add a few hundred; gRPC itself sends 8 KiB at most unless told otherwise.
    """

    continuation_frames: int = 8
    """Of one header block; more is a Fault TOO_MANY_CONTINUATIONS. Four frames of the smallest allowed maximum size
    hold the largest block; a flood of tiny ones is CVE-2024-27316."""

    header_table_bytes: int = 4 * KIB
    """HPACK's dynamic table for what the peer sends: the protocol's default, with which no peer must be told."""

    heads_remembered: int = 256
    """Header blocks whose meaning is kept, see `waypost.wire.blocks`; a client repeats a handful."""

    heads_remembered_bytes: int = 128 * KIB
    """Of those blocks, compressed."""

    concurrent_streams: int = 256
    """That the peer may have open at once; further ones are refused, which tells it that nothing was executed.

    At 5 ms a call that is 50,000 calls per second, more than a core can answer.
    """

    streams_remembered: int = 256
    """That we reset and that the peer may not know of yet: its frames on them are dropped in silence. As many as can
    have been open when the peer was last heard."""

    frame_bytes: int = 1 * MIB
    """Our SETTINGS_MAX_FRAME_SIZE. DATA is handed on as it comes, so large frames cost no memory and save time: a
    tensor of 600 KB is one frame instead of 37."""

    stream_window_bytes: int = 4 * MIB
    """What the peer may send on one stream before it is read. The default limit of a gRPC message: one of them never
    waits for a round trip."""

    connection_window_bytes: int = 16 * MIB
    """The same over all streams: the memory that a peer's unread data can take."""

    unsent_bytes: int = 64 * MIB
    """What may wait for the peer to read it; more is a Fault UNSENT_TOO_LARGE. Sixteen of the largest messages.

    An owner that streams looks at `Stream.unsent` and waits instead; one that stops reading while its transport is full
    never gets here with unary calls either.
    """

    write_bytes: int = 1 * MIB
    """DATA that one `take` hands out. Enough to keep the fastest link busy until the next, little enough that a late
    small answer does not wait behind a hundred large ones."""

    control_frames: int = 1000
    """That we owe and that nobody takes because the peer does not read; more is a Fault CONTROL_FRAMES_UNREAD. Ten
    times what a busy peer causes between two writes."""

    settings_entries: int = 64
    """In one SETTINGS frame; there are eight in the RFCs."""

    resets: Rate = Rate(burst=512, per_s=50, per_progress=1)
    """Of streams by the peer; more is a Fault TOO_MANY_RESETS (rapid reset, CVE-2023-44487).

    Burst: all streams of a closing client, twice. A client may cancel every second call for ever.
    """

    provoked_resets: Rate = Rate(burst=512, per_s=50, per_progress=1)
    """Of streams by us, for what the peer did on them, refused ones included; more is a Fault TOO_MANY_STREAM_ERRORS
    (the same attack from the other side, CVE-2025-8671)."""

    pings: Rate = Rate(burst=200, per_s=20, per_progress=1)
    """More is a Fault TOO_MANY_PINGS (CVE-2019-9512). gRPC in C++ and Go measures the link with a ping per round trip
    while data flows, hence the part that progress pays."""

    settings: Rate = Rate(burst=50, per_s=2)
    """More is a Fault TOO_MANY_SETTINGS (CVE-2019-9515). Clients send one or two in a connection's life."""

    priorities: Rate = Rate(burst=500, per_s=50, per_progress=1)
    """More is a Fault TOO_MANY_PRIORITIES (CVE-2019-9513). Browsers used to send several per stream; we ignore them."""

    empty_data: Rate = Rate(burst=200, per_s=20, per_progress=1)
    """DATA frames with neither a byte nor END_STREAM; more is a Fault TOO_MANY_EMPTY_FRAMES (CVE-2019-9518)."""

    small_window_updates: Rate = Rate(burst=500, per_s=100, per_progress=4)
    """WINDOW_UPDATE of fewer bytes than `small_window_update_bytes`; more is a Fault TOO_MANY_WINDOW_UPDATES
    (CVE-2019-9511). Some peers give each answer's few bytes back at once, on the stream and on the connection."""

    small_window_update_bytes: int = 1024

    other_frames: Rate = Rate(burst=200, per_s=20, per_progress=1)
    """GOAWAY, interim responses, and types that RFC 9113 does not know; more is a Fault TOO_MANY_OTHER_FRAMES."""

    handshake_s: float = 10.0
    """Until the peer's preface and SETTINGS are here, and until it acknowledged ours; then a Fault HANDSHAKE_TIMEOUT.
    Generous to a mobile client in a tunnel, short enough to shed connections that only hold a place."""

    stall_s: float = 10.0
    """For a frame or a header block that began to become whole; then a Fault FRAME_TIMEOUT. DATA, which may take its
    time, has only its first bytes counted here; how long a call may take is its deadline's matter."""

    keepalive_s: float = 60.0
    """Silence after which we ping; 0 never does. Minutes are what NATs and load balancers forget connections after."""

    keepalive_timeout_s: float = 20.0
    """For the answer to that ping; then a Fault KEEPALIVE_TIMEOUT. gRPC's own default."""

    idle_s: float = 3600.0
    """Without a stream after which we say goodbye; 0 never does. Clients keep connections warm for the next call; one
    that nobody used for an hour is forgotten."""

    drain_s: float = 1.0
    """Between the two steps of a graceful shutdown, if the peer does not answer our ping sooner."""

    def __post_init__(self) -> None:
        _check("header_block_bytes", self.header_block_bytes, 16 * KIB, 16 * MIB)
        _check("header_table_bytes", self.header_table_bytes, 0, 64 * KIB)
        _check("concurrent_streams", self.concurrent_streams, 1, (1 << 31) - 1)
        _check("frame_bytes", self.frame_bytes, 16 * KIB, (1 << 24) - 1)
        _check("stream_window_bytes", self.stream_window_bytes, 1, (1 << 31) - 1)
        _check("connection_window_bytes", self.connection_window_bytes, (1 << 16) - 1, (1 << 31) - 1)


def _check(name: str, value: int, least: int, most: int) -> None:
    """What the protocol cannot express is a mistake in our own settings."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least}..{most}, got {value}")


DEFAULT_LIMITS = Limits()


class Meters:
    """All rates of one connection at work."""

    __slots__ = (
        "empty_data",
        "other_frames",
        "pings",
        "priorities",
        "provoked_resets",
        "resets",
        "settings",
        "small_window_updates",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self.resets = Meter("TOO_MANY_RESETS", limits.resets, now)
        self.provoked_resets = Meter("TOO_MANY_STREAM_ERRORS", limits.provoked_resets, now)
        self.pings = Meter("TOO_MANY_PINGS", limits.pings, now)
        self.settings = Meter("TOO_MANY_SETTINGS", limits.settings, now)
        self.priorities = Meter("TOO_MANY_PRIORITIES", limits.priorities, now)
        self.empty_data = Meter("TOO_MANY_EMPTY_FRAMES", limits.empty_data, now)
        self.small_window_updates = Meter("TOO_MANY_WINDOW_UPDATES", limits.small_window_updates, now)
        self.other_frames = Meter("TOO_MANY_OTHER_FRAMES", limits.other_frames, now)
