"""What a server meets: sound calls, calls that cost their stream, frames that end the connection, and time."""

from tests.fuzz.script import IS_TIGHT, Op
from tests.fuzz.steps import (
    BLOCK,
    CALL,
    END,
    FAIL,
    FIRST,
    INSERT,
    LOSE,
    NO,
    OK,
    OPEN,
    POST,
    SERVER,
    SHUTDOWN,
    SMALL_TABLE,
    TAKE,
    TIGHT_SERVER,
    YES,
    core_call,
    data,
    headers,
    hear,
    op,
    reply,
    size,
    tick,
    told,
)
from waypost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    frame,
    goaway,
    rst_stream,
    window_update,
)
from waypost.wire.hpack import encode_integer

SERVED = {
    "unary": hear(CALL) + reply() + TAKE,
    "unary drip": hear(CALL, drip=True) + reply() + TAKE,
    "C-core": hear(core_call(), core_call(3, 20_000), core_call(5, 20_000)) + reply() + reply(5, b"\2") + TAKE,
    "C-core, drip": hear(core_call(), core_call(3, 20_000), drip=True) + reply() + TAKE,
    "C-core, cut behind the update": hear(core_call()[:-14], core_call()[-14:]) + reply() + TAKE,
    "C-core, updates that are no look ahead": hear(
        core_call(1, 0), core_call(3, (1 << 31) - 1), core_call(5).replace(b"\0\0\0\5\0\0\0\5", b"\0\0\0\1\0\0\0\5")
    )
    + reply(5, b"\2")
    + TAKE,
    "C-core, small updates until they are too many": hear(*(core_call(number, 1) for number in range(1, 15, 2))),
    "two unary calls, answered backwards": hear(CALL, headers(3, end=False), data(3, end=True))
    + reply(5, b"\1")
    + reply()
    + TAKE,
    "streamed": hear(OPEN, data(), data(1, b"x" * 700), data(end=True))
    + op(Op.READ, FIRST, size(900))
    + op(Op.SEND_HEAD, FIRST, NO)
    + op(Op.SEND_DATA, FIRST, size(10), NO)
    + TAKE
    + op(Op.SEND_DATA, FIRST, size(9), YES)
    + TAKE,
    "answered with nothing": hear(headers()) + op(Op.SEND_HEAD, FIRST, YES) + TAKE,
    "answered with an empty end": hear(headers())
    + op(Op.SEND_HEAD, FIRST, NO)
    + op(Op.SEND_DATA, FIRST, size(0), NO)
    + op(Op.SEND_DATA, FIRST, size(0), YES)
    + op(Op.SEND_DATA, FIRST, size(1), YES)
    + TAKE,
    "answered with trailers": hear(headers(), headers(3))
    + op(Op.SEND_TRAILERS, FIRST)
    + op(Op.SEND_TRAILERS, b"\1")
    + TAKE,
    "request trailers": hear(OPEN, data(), headers(1, END)) + reply() + TAKE,
    "request with a length": hear(headers(1, (*POST, (b"content-length", b"5")), end=False), data(end=True)),
    "large answer": hear(headers(), told((5, 1 << 20)))
    + reply(60_000)
    + TAKE
    + hear(window_update(1, 70_000), window_update(0, 70_000))
    + TAKE,
    "large answers, in turns": hear(headers(), headers(3))
    + reply(40_000)
    + reply(50_000, b"\1")
    + TAKE
    + hear(window_update(0, 50_000), window_update(1, 9))
    + TAKE
    + TAKE,
    "small windows": hear(told((4, 3)), headers(), headers(3))
    + reply()
    + TAKE
    + hear(window_update(1, 1), window_update(3, 1), told((4, 1)), told((4, 9)))
    + reply(5, b"\1")
    + TAKE,
    "empty answer behind what a shut window holds": hear(told((4, 0)), CALL)
    + op(Op.SEND_DATA, FIRST, size(6), NO)
    + reply(0)
    + TAKE
    + hear(window_update(1, 6))
    + TAKE,
    "window shuts before its turn": hear(headers()) + reply(40_000) + hear(told((4, 0))) + TAKE,
    "early answer": hear(OPEN) + reply() + TAKE + hear(data(), data(1, b"", end=True)),
    "early answer, late trailers": hear(OPEN) + reply() + TAKE + hear(data(), headers(1, END)),
    "client resets": hear(OPEN, rst_stream(1, 8)) + reply() + op(Op.RESET, FIRST) + op(Op.READ, FIRST, size(9)),
    "client resets what is queued": hear(told((4, 0)), headers()) + reply() + hear(rst_stream(1, 8)) + TAKE,
    "we reset, client did not know": hear(OPEN)
    + op(Op.RESET, FIRST)
    + hear(data(), data(1, b""), rst_stream(1, 8), rst_stream(1, 8)),
    "we reset in the middle of a frame": hear(OPEN + data(1, b"x" * 50)[:30])
    + op(Op.RESET, FIRST)
    + hear(data(1, b"x" * 50)[30:], headers(3)),
    "padding": hear(
        frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, b"\2" + bytes(5) + BLOCK + bytes(2)),
        frame(DATA, PADDED, 1, b"\3abc" + bytes(3)),
        frame(DATA, PADDED | END_STREAM, 1, b"\3" + bytes(3)),
        drip=True,
    ),
    "continuation": hear(
        frame(HEADERS, END_STREAM, 1, BLOCK[:3]),
        frame(CONTINUATION, 0, 1, BLOCK[3:5]),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK[5:]),
    )
    + reply(),
    "dynamic table": hear(
        frame(HEADERS, 5, 1, BLOCK + INSERT),
        frame(HEADERS, 5, 3, BLOCK + b"\xbe"),
        frame(HEADERS, 5, 5, BLOCK + b"\xbe"),
        frame(HEADERS, 5, 7, b"\x20" + BLOCK),
    ),
    "peer shrinks our table": hear(told((1, 0), (1, 100)), headers(), headers(3)) + reply() + reply(5, b"\1") + TAKE,
    "settings of all kinds": hear(told((1, 4096), (2, 1), (3, 5), (4, 70_000), (5, 1 << 15), (6, 9), (8, 1), (99, 1))),
    "second acknowledgement": hear(frame(SETTINGS, ACK, 0)),
    "pings": hear(frame(PING, 0, 0, bytes(8)), frame(PING, ACK, 0, b"whatever"), frame(PING, ACK, 0, b"alive?\0\0"))
    + op(Op.PING)
    + TAKE,
    "priority": hear(frame(PRIORITY, 0, 1, bytes(5)), OPEN, frame(PRIORITY, 0, 1, bytes(5))),
    "unknown frames": hear(frame(0x16, 0xFF, 7, b"whatever")),
    "graceful shutdown": hear(CALL, OPEN.replace(b"\0\0\0\1", b"\0\0\0\3"))
    + SHUTDOWN
    + SHUTDOWN
    + TAKE
    + hear(frame(PING, ACK, 0, b"drained?"), headers(5))
    + reply()
    + reply(5, b"\1")
    + TAKE
    + SHUTDOWN,
    "graceful shutdown by time": hear(headers()) + SHUTDOWN + tick(0) + tick(1) + reply() + TAKE,
    "answer to a ping of no shutdown": hear(frame(PING, ACK, 0, b"drained?")),
    "client goes": hear(headers(), goaway(0, 0, b"bye")) + reply() + TAKE + hear(headers(3)),
    "client goes at once": hear(goaway(0, 0), headers()),
    "idle": (hear(frame(PING, ACK, 0, b"alive?\0\0")) + tick(59)) * 62 + tick(1) + TAKE,
    "keepalive": tick(60)
    + TAKE
    + hear(frame(PING, ACK, 0, b"alive?\0\0"))
    + tick(10)
    + hear(headers())
    + tick(60)
    + tick(5)
    + tick(60)
    + tick(1),
    "lost": hear(told((4, 0)), headers(), OPEN.replace(b"\0\0\0\1", b"\0\0\0\3")) + reply() + LOSE + TAKE + tick(9),
    "connect": hear(headers(1, ((b":method", b"CONNECT"), (b":authority", b"edge:1")), end=False)),
    "host": hear(headers(1, (*POST[:3], (b"host", b"edge"), (b"x-a", b"1"))), headers(3, POST[:3])),
    "large head": hear(headers(1, (*POST, (b"x", b"v" * 9000)), end=False)),
}
"""What a server takes."""

STREAM_ERRORS = {
    "capital": headers(1, (*POST, (b"X", b"1"))),
    "blank in value": headers(1, (*POST, (b"x", b" 1"))),
    "newline in value": headers(1, (*POST, (b"x", b"a\nb"))),
    "no method": headers(1, POST[1:]),
    "no path": headers(1, POST[:2]),
    "status": headers(1, (*POST, *OK)),
    "status first": headers(1, (*OK, *POST)),
    "method twice": headers(1, (*POST, POST[0])),
    "path is a star": headers(1, (*POST[:2], (b":path", b"*"))),
    "other host": headers(1, (*POST, (b"host", b"other"))),
    "lengths differ": headers(1, (*POST, (b"content-length", b"1"), (b"content-length", b"2"))),
    "length without body": headers(1, (*POST, (b"content-length", b"1"))),
    "body too long": headers(1, (*POST, (b"content-length", b"1")), end=False) + data(),
    "body too short": headers(1, (*POST, (b"content-length", b"9")), end=False) + data(end=True),
    "body too short for trailers": headers(1, (*POST, (b"content-length", b"9")), end=False) + data() + headers(1, END),
    "trailers without end": OPEN + headers(1, END, end=False),
    "trailers with pseudo-header": OPEN + headers(),
    "data after end": CALL + data(),
    "headers after end": CALL + headers(),
    "window update by 0": OPEN + window_update(1, 0),
    "window overflow": OPEN + window_update(1, (1 << 31) - 1),
    "window exceeded": OPEN + data(1, b"x" * 1001),
    "list too large": headers(1, (*POST, (b"x", b"v" * 400))),
    "too many streams": headers(1) + headers(3) + headers(5) + headers(7),
}
"""What costs one stream, with tight limits; another call follows."""

CONNECTION_ERRORS = {
    "too large a frame": frame(DATA, 0, 1, bytes(1 << 15) + b"x")[:20],
    "too large an unknown frame": frame(0x16, 0, 0, bytes(20_000))[:20],
    "block too large": frame(HEADERS, 0, 1, bytes(20_000))[:20],
    "block too large in sum": frame(HEADERS, 0, 1, bytes(1 << 14)) + frame(CONTINUATION, 0, 1, b"x"),
    "too many continuations": frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 3,
    "interrupted block": frame(HEADERS, 0, 1) + data(),
    "continuation elsewhere": frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 3),
    "continuation of nothing": frame(CONTINUATION, 0, 1),
    "headers on 0": headers(0),
    "data on 0": data(0),
    "priority on 0": frame(PRIORITY, 0, 0, bytes(5)),
    "priority of 4": frame(PRIORITY, 0, 1, bytes(4)),
    "priority on itself": frame(PRIORITY, 0, 1, b"\0\0\0\1\0"),
    "headers depend on themselves": frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0\0\1\0" + BLOCK),
    "headers too short": frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0\0"),
    "headers padding": frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09abc"),
    "headers no padding": frame(HEADERS, END_HEADERS | PADDED, 1),
    "data padding": OPEN + frame(DATA, PADDED, 1, b"\x09abc"),
    "data no padding": OPEN + frame(DATA, PADDED, 1),
    "data on idle": data(3),
    "data on even": data(2),
    "reset on idle": rst_stream(3, 0),
    "reset on 0": rst_stream(0, 0),
    "reset of 3": OPEN + frame(RST_STREAM, 0, 1, bytes(3)),
    "update on idle": window_update(3, 1),
    "update by 0": window_update(0, 0),
    "update of 3": frame(8, 0, 0, bytes(3)),
    "update too far": window_update(0, (1 << 31) - 1),
    "even stream": headers(2),
    "stream passed over": headers(5) + headers(3),
    "headers on closed": headers() + rst_stream(1, 0) + headers(),
    "data on closed": headers() + rst_stream(1, 0) + data(),
    "push": frame(PUSH_PROMISE, 0, 1, bytes(4)),
    "settings on 1": frame(SETTINGS, 0, 1),
    "settings of 5": frame(SETTINGS, 0, 0, bytes(5)),
    "settings ack of 6": frame(SETTINGS, ACK, 0, bytes(6)),
    "settings too many": told(*((9, 9),) * 9),
    "settings push": told((2, 2)),
    "settings window": told((4, 1 << 31)),
    "settings frame size": told((5, 1)),
    "settings window too far": OPEN + window_update(1, (1 << 31) - 70_000) + told((4, 70_000)),
    "ping on 1": frame(PING, 0, 1, bytes(8)),
    "ping of 7": frame(PING, 0, 0, bytes(7)),
    "goaway on 1": frame(7, 0, 1, bytes(8)),
    "goaway of 7": frame(7, 0, 0, bytes(7)),
    "many pings": frame(PING, 0, 0, bytes(8)) * 6,
    "many settings": told() * 6,
    "many priorities": frame(PRIORITY, 0, 1, bytes(5)) * 6,
    "many empty frames": OPEN + data(1, b"") * 6,
    "many updates": window_update(0, 1) * 6,
    "many unknown frames": frame(0x16, 0, 0) * 6,
    "many resets": b"".join(headers(number) + rst_stream(number, 0) for number in range(1, 13, 2)),
    "many provoked resets": b"".join(headers(number, POST[1:]) for number in range(1, 13, 2)),
    "index 0": frame(HEADERS, END_HEADERS, 1, b"\x80"),
    "no preface": b"",
}
"""What ends the connection, with tight limits."""

OWN_ENDS = {
    "unread answers": TIGHT_SERVER
    + hear(frame(PING, 0, 0, bytes(8))) * 4
    + tick(4)
    + hear(frame(PING, 0, 0, bytes(8))),
    "unread resets": TIGHT_SERVER
    + b"".join(
        hear(OPEN.replace(b"\0\0\0\1", bytes([0, 0, 0, number]))) + op(Op.RESET, bytes([number // 2]))
        for number in range(1, 25, 2)
    ),
    "owner fails": SERVER
    + hear(CALL, OPEN.replace(b"\0\0\0\1", b"\0\0\0\3"))
    + reply(60_000)
    + FAIL
    + TAKE
    + FAIL
    + TAKE,
    "owner fails before a word": b"\0" + FAIL + TAKE + hear(PREFACE),
    "owner fails what is over": SERVER + LOSE + FAIL + TAKE,
    "unsent": TIGHT_SERVER + hear(headers(), headers(3)) + reply(60_000) + reply(60_000, b"\1") + TAKE,
    "remembered resets": TIGHT_SERVER
    + hear(*(headers(number, end=False) for number in (1, 3, 5)))
    + b"".join(op(Op.RESET, bytes([number])) for number in range(3))
    + TAKE
    + tick(9)
    + hear(headers(7, end=False), headers(9, end=False))
    + op(Op.RESET, b"\3")
    + op(Op.RESET, b"\4")
    + hear(data(9), data(9, b""), data(9, b"x" * 996)),
    "remembered heads": TIGHT_SERVER
    + b"".join(
        hear(headers(number, (*POST, (b"x", b"%d" % number))), rst_stream(number, 0)) + tick(1)
        for number in range(1, 15, 2)
    ),
    "no hello": bytes([IS_TIGHT]) + tick(5) + tick(5) + TAKE,
    "wrong preface": b"\0" + hear(b"GET / HTTP/1.1\r\n"),
    "preface drip": b"\0" + hear(PREFACE, told(), frame(SETTINGS, ACK, 0), drip=True),
    "no settings": b"\0" + hear(PREFACE, frame(PING, 0, 0, bytes(8))),
    "acknowledgement first": b"\0" + hear(PREFACE, frame(SETTINGS, ACK, 0)),
    "data before our settings are known": bytes([IS_TIGHT])
    + hear(PREFACE, told(), OPEN, data(1, b"x" * 1500))
    + op(Op.RESET, FIRST)
    + hear(headers(3, end=False), frame(SETTINGS, ACK, 0)),
    "table larger than told": SMALL_TABLE + hear(headers()),
    "table as told": SMALL_TABLE
    + hear(frame(HEADERS, 5, 1, encode_integer(200, 31, 32) + BLOCK), frame(HEADERS, 5, 3, BLOCK + INSERT * 6)),
    "half a frame": SERVER + hear(frame(PING, 0, 0, bytes(8))[:12]) + tick(3) + hear(b"\0") + tick(3) + tick(9),
    "half a block": SERVER + hear(frame(HEADERS, 0, 1, BLOCK)) + tick(5) + hear(frame(PING, 0, 0)[:3]) + tick(9),
    "no answer to a ping": SERVER + tick(60) + tick(20) + TAKE + tick(1),
}
"""Ends that take an owner, or time."""
