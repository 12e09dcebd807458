"""What a client meets."""

from tests.fuzz.script import Op
from tests.fuzz.steps import (
    ANSWER,
    END,
    FAIL,
    FIRST,
    INSERT,
    LOSE,
    NO,
    OK,
    POST,
    REQUEST,
    SHUTDOWN,
    TAKE,
    YES,
    data,
    headers,
    hear,
    op,
    size,
    tick,
    told,
)
from waypost.wire.frames import HEADERS, PING, PUSH_PROMISE, frame, goaway, rst_stream, window_update

ASKED = {
    "unary": REQUEST + REQUEST + TAKE + hear(ANSWER) + hear(ANSWER.replace(b"\0\0\0\1", b"\0\0\0\3")),
    "unary drip": REQUEST + hear(ANSWER, drip=True),
    "unary, cut": REQUEST * 3
    + hear(ANSWER, ANSWER.replace(b"\0\0\0\1", b"\0\0\0\3")[:-20])
    + hear(ANSWER.replace(b"\0\0\0\1", b"\0\0\0\3")[-20:], headers(5, OK, end=False), data(5)),
    "unary, other frames between": REQUEST * 2
    + hear(ANSWER, headers(3, OK, end=False), data(3), frame(PING, 0, 0, bytes(8)), headers(3, END)),
    "streamed": op(Op.REQUEST, size(5), NO)
    + op(Op.SEND_DATA, FIRST, size(5), NO)
    + op(Op.SEND_DATA, FIRST, size(5), YES)
    + TAKE
    + hear(headers(1, OK, end=False), data(1, b"x" * 600))
    + op(Op.READ, FIRST, size(600))
    + hear(data(1, b"", end=True)),
    "no body": op(Op.REQUEST, size(0), YES) + hear(headers(1, OK)),
    "head": op(Op.ASK) + hear(headers(1, (*OK, (b"content-length", b"5")))),
    "no content": op(Op.ASK) + hear(headers(1, ((b":status", b"204"), (b"content-length", b"5")))),
    "trailers only": REQUEST + hear(headers(1, (*OK, *END))),
    "interim": REQUEST + hear(headers(1, ((b":status", b"103"),), end=False), ANSWER),
    "large": hear(told((4, 1 << 20)))
    + op(Op.REQUEST, size(60_000), YES) * 2
    + TAKE
    + hear(window_update(0, 70_000))
    + TAKE,
    "small windows": hear(told((4, 3))) + REQUEST + TAKE + hear(window_update(1, 9)) + TAKE,
    "changed table": hear(told((1, 0))) + REQUEST + hear(told((1, 100))) + REQUEST + REQUEST + TAKE,
    "one at a time": hear(told((3, 1))) + REQUEST + REQUEST + hear(ANSWER) + REQUEST,
    "server goes": REQUEST + REQUEST + hear(goaway(1, 0)) + REQUEST + hear(ANSWER),
    "we go": REQUEST + SHUTDOWN + SHUTDOWN + REQUEST + hear(ANSWER) + TAKE,
    "we fail": REQUEST + REQUEST + hear(ANSWER) + FAIL + TAKE + hear(ANSWER) + REQUEST + TAKE,
    "idle": tick(255) * 16,
    "cancelled": REQUEST + op(Op.RESET, FIRST) + hear(ANSWER),
    "cancelled, answer without end": REQUEST
    + op(Op.RESET, FIRST)
    + hear(headers(1, OK, end=False), headers(1, OK, end=False), headers(1, OK, end=False)),
    "refused": REQUEST + hear(rst_stream(1, 7)),
    "answered early": op(Op.REQUEST, size(5), NO) + hear(ANSWER, rst_stream(1, 0)),
    "answered early, we reset": op(Op.REQUEST, size(5), NO) + hear(ANSWER) + op(Op.RESET, FIRST) + TAKE,
    "trailers that change the table": REQUEST * 2
    + hear(headers(1, OK, end=False), data(), frame(HEADERS, 5, 1, INSERT))
    + hear(headers(3, OK, end=False), data(3), frame(HEADERS, 5, 3, b"\xbe")),
    "lost": REQUEST + LOSE + TAKE + REQUEST,
    "broken: interim with end": REQUEST + hear(headers(1, ((b":status", b"100"),))),
    "broken: switching": REQUEST + hear(headers(1, ((b":status", b"101"),), end=False)),
    "broken: data first": REQUEST + hear(data()),
    "broken: no status": REQUEST + hear(headers(1, END)),
    "broken: pseudo-header": REQUEST + hear(headers(1, (*OK, POST[2]))),
    "broken: length": REQUEST + hear(headers(1, (*OK, (b"content-length", b"5")))),
    "broken: trailers after end": op(Op.REQUEST, size(5), NO) + hear(headers(1, OK), headers(1, END)),
    "broken: idle": REQUEST + hear(headers(3, OK)),
    "broken: closed": REQUEST + hear(ANSWER, headers(1, OK)),
    "broken: push": REQUEST + hear(told((2, 1))),
    "broken: push promise": REQUEST + hear(frame(PUSH_PROMISE, 0, 1, bytes(4))),
}
