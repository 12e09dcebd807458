"""A peer that writes whatever frames a test wants, and reads ours with somebody else's parser (hyperframe, hpack)."""

from dataclasses import dataclass, field

import hpack
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from waypost.wire import ClientConnection, Data, Event, Headers, Limits, Request, ServerConnection
from waypost.wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    pack_id,
)
from waypost.wire.hpack import encode
from waypost.wire.settings import encode as encode_settings

GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"edge"))
POST = ((b":method", b"POST"), *GET[1:])
OK = ((b":status", b"200"),)


def headers(stream_id: int, pairs=GET, *, end: bool = True, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream_id, encode(pairs))


def data(stream_id: int, body: bytes = b"", *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, body)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, pack_id(code))


def update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, pack_id(increment))


def told(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, encode_settings(entries))


GREETING = told() + frame(SETTINGS, ACK, 0)


@dataclass
class Bench:
    """One of our connections, past its greeting, and everything it has said since."""

    connection: ServerConnection | ClientConnection
    now: float = 0.0
    frames: list[Frame] = field(default_factory=list)

    def hear(self, *frames: bytes, after: float = 0.0) -> list[Event]:
        """What it tells its owner about these frames."""
        self.now += after
        events = list(self.connection.receive(b"".join(frames), self.now))
        self.collect()
        return events

    def collect(self) -> list[Frame]:
        """What it wants to write now; also kept in `frames`."""
        fresh = parse(b"".join(self.connection.take()))
        self.frames += fresh
        return fresh

    def said(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    @property
    def resets(self) -> list[tuple[int, int]]:
        """(stream, code) of every RST_STREAM."""
        return [(frame.stream_id, frame.error_code) for frame in self.said(RstStreamFrame)]

    @property
    def reason(self) -> str | None:
        """Why the connection ended; checks that the peer was told."""
        fault = self.connection.fault
        if fault is None:
            return None
        assert self.connection.closed
        (goodbye,) = self.said(GoAwayFrame)[-1:]
        assert goodbye.error_code == fault.code
        assert goodbye.additional_data.startswith(fault.reason.encode())
        return fault.reason


def server(limits: Limits | None = None) -> Bench:
    """A server whose client has said hello."""
    bench = Bench(ServerConnection(limits or Limits(), now=0.0))
    assert bench.hear(PREFACE, GREETING) == []
    bench.frames.clear()
    return bench


def client(limits: Limits | None = None) -> Bench:
    """A client whose server has said hello."""
    bench = Bench(ClientConnection(limits or Limits(), now=0.0))
    assert b"".join(bench.connection.take()).startswith(PREFACE)
    assert bench.hear(GREETING) == []
    bench.frames.clear()
    return bench


def parse(output: bytes) -> list[Frame]:
    frames = []
    while output:
        frame, length = Frame.parse_frame_header(memoryview(output[:9]))
        frame.parse_body(memoryview(output[9 : 9 + length]))
        frames.append(frame)
        output = output[9 + length :]
    return frames


def fields(frame: HeadersFrame) -> list[tuple[bytes, bytes]]:
    """Of a block that uses no dynamic table."""
    return [(name, value) for name, value in hpack.Decoder().decode(bytes(frame.data), raw=True)]


def summary(events: list[Event]) -> list[tuple[object, ...]]:
    """What was said on each stream, with bodies joined, whichever events it came in."""
    said: list[tuple[object, ...]] = []
    for event in events:
        name, stream = type(event).__name__, getattr(event, "stream", None)
        number = stream.id if stream else 0
        if isinstance(event, Request):
            said += [("Headers", number, event.head.path), ("Data", number, event.data, True)]
        elif isinstance(event, Headers):
            said.append(("Headers", number, event.head.path, *([event.ended] if event.ended else [])))
        elif isinstance(event, Data) and said and said[-1][:2] == ("Data", number) and not said[-1][3]:
            said[-1] = ("Data", number, said[-1][2] + event.data, event.ended)
        elif isinstance(event, Data):
            said.append(("Data", number, event.data, event.ended))
        else:
            said.append((name, number, getattr(event, "code", None), getattr(event, "reason", None)))
    return said
