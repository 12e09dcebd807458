"""The frames that steer a connection: all but HEADERS, CONTINUATION and DATA (RFC 9113, section 6).

They are answered here. Each is checked as its section says, and counted: but for the WINDOW_UPDATEs of some clients,
none of them is needed for a warm call, so a peer that sends many without getting on is up to no good
(`waypost.wire.limits`).

Two stream errors of the RFC, a wrong length of PRIORITY and a stream that depends on itself, end the connection here,
as section 5.4.2 allows: no honest peer makes them, and the streams they name may not even exist.
"""

from math import inf
from typing import ClassVar

from waypost.wire import settings
from waypost.wire.events import Event, GoAway, Pong, Reset
from waypost.wire.faults import ErrorCode, Fault, StreamFault
from waypost.wire.frames import (
    ACK,
    GOAWAY,
    PING,
    PRIORITY,
    PRIORITY_BYTES,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_ID_MAX,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    check_dependency,
    frame,
    rst_stream,
)
from waypost.wire.limits import Limits, Meters
from waypost.wire.liveness import Liveness, Need
from waypost.wire.outgoing import Outgoing
from waypost.wire.streams import Stream

KEEPALIVE_PAYLOAD = b"alive?\0\0"
DRAIN_PAYLOAD = b"drained?"


def protocol_error(reason: str, message: str) -> Fault:
    return Fault(ErrorCode.PROTOCOL_ERROR, reason, message)


def _check_size(name: str, payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise Fault(ErrorCode.FRAME_SIZE_ERROR, "FRAME_SIZE_INVALID", f"{name} of {len(payload)} bytes, not {size}")


class Control(Outgoing):
    """Adds what a peer steers to what the owner does."""

    __slots__ = (
        "_awaits_ack",
        "_events",
        "_live",
        "_meters",
        "_now",
        "_stream_window",
        "_told",
    )

    IS_CLIENT: ClassVar[bool]

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits)
        self._now = now
        self._live = Liveness(limits, now)
        self._events: list[Event] = []
        self._told = False
        """The peer's first SETTINGS came."""
        self._awaits_ack = True
        self._stream_window = max(limits.stream_window_bytes, WINDOW_DEFAULT)
        """Of new streams. Until our SETTINGS are acknowledged, the peer may go by the default."""
        self._meters = Meters(limits, now)

    def tick(self, now: float) -> float:
        """Do what only time asks for: pings, timeouts, goodbyes. → when to call again, inf for never."""
        if self.closed:
            return inf
        try:
            need, due = self._live.check(now, busy=bool(self._streams), began=self._began())
        except Fault as fault:
            self._fail(fault)
            return inf
        if need is Need.PING:
            self.ping(KEEPALIVE_PAYLOAD)
        elif need is Need.GOODBYE:
            self.shutdown(now)
        return min(due, self._drain_due(now))

    def shutdown(self, now: float) -> None:
        """Abstract, a role's. End gracefully: no new streams, then `closed` when the open ones are over. See `tick`."""
        raise NotImplementedError

    def _began(self) -> int:
        """Abstract, a role's. A number that is 0 first and grows with each stream."""
        raise NotImplementedError

    def _drain_due(self, now: float) -> float:
        return inf

    def _on_control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self._on_settings(flags, stream_id, payload)
        elif kind == PING:
            self._on_ping(flags, stream_id, payload)
        elif kind == RST_STREAM:
            self._on_rst_stream(flags, stream_id, payload)
        elif kind == GOAWAY:
            self._on_goaway(flags, stream_id, payload)
        elif kind == PRIORITY:
            self._on_priority(flags, stream_id, payload)
        elif kind == PUSH_PROMISE:
            self._on_push_promise(flags, stream_id, payload)
        else:
            self._meters.other_frames.spend(self._now, self._progress)  # section 5.5: ignored

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.3: deprecated, so it has no effect."""
        self._meters.priorities.spend(self._now, self._progress)
        self._check_stream_id("PRIORITY", stream_id)
        _check_size("PRIORITY", payload, PRIORITY_BYTES)
        check_dependency(stream_id, payload)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.4."""
        self._check_stream_id("RST_STREAM", stream_id)
        _check_size("RST_STREAM", payload, 4)
        stream = self._streams.get(stream_id)
        code = int.from_bytes(payload, "big")
        if self.IS_CLIENT and stream is not None and not stream.remote_open:
            self._completed += 1  # a server that answered early needs no more of the request (section 8.1)
        else:
            self._meters.resets.spend(self._now, self._completed)
        if stream is not None:
            self._kill(stream)
            self._events.append(Reset(stream, code, by_peer=True))
        elif self._lingering.pop(stream_id, None) is None:
            self._check_not_idle("RST_STREAM", stream_id)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.5."""
        self._meters.settings.spend(self._now, self._progress)
        self._check_connection_frame("SETTINGS", stream_id)
        if flags & ACK:
            _check_size("SETTINGS acknowledgement", payload, 0)
            self._on_settings_ack()
            return
        entries = settings.decode(payload, self.limits.settings_entries)
        if not self._told:
            self._told = True
            self.peer_streams_max = STREAM_ID_MAX
            self._live.greeted = not self._awaits_ack
        for identifier, value in entries:
            self._apply(identifier, value)
        self._out.owe(frame(SETTINGS, ACK, 0))

    def _on_settings_ack(self) -> None:
        """From now on the peer goes by our settings, also by those that are stricter than the defaults."""
        if self._awaits_ack:
            self._awaits_ack = False
            self._live.greeted = self._told
            shrunk = self.limits.stream_window_bytes - self._stream_window
            self._stream_window += shrunk
            for stream in (*self._streams.values(), *self._lingering.values()):
                stream.receive_window += shrunk

    def _apply(self, identifier: int, value: int) -> None:
        """Section 6.5.2; what we do not know has no effect."""
        if identifier == settings.HEADER_TABLE_SIZE:
            self._out.encoder.resize(value)
        elif identifier == settings.ENABLE_PUSH:
            if value and self.IS_CLIENT:
                raise protocol_error("SETTINGS_INVALID", "a server enables push")
        elif identifier == settings.MAX_CONCURRENT_STREAMS:
            self.peer_streams_max = value
        elif identifier == settings.INITIAL_WINDOW_SIZE:
            self._resize_windows(value)
        elif identifier == settings.MAX_FRAME_SIZE:
            self._out.frame_bytes = value

    def _resize_windows(self, size: int) -> None:
        """Section 6.9.2: streams that are open change by the difference, into the negative if need be."""
        change = size - self._peer_window
        self._peer_window = size
        for stream in self._streams.values():
            stream.send_window += change
            if stream.send_window > WINDOW_MAX:
                message = f"stream {stream.id}'s window would exceed {WINDOW_MAX}"
                raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_OVERFLOW", message)
            self._out.offer(stream)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.6: a client never may, and we as client have disabled it."""
        raise protocol_error("PUSH_REFUSED", "PUSH_PROMISE, which nobody asked for")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.7."""
        self._meters.pings.spend(self._now, self._progress)
        self._check_connection_frame("PING", stream_id)
        _check_size("PING", payload, 8)
        if not flags & ACK:
            self._out.owe(frame(PING, ACK, 0, payload))
        elif payload == DRAIN_PAYLOAD:
            self._drain()
        elif payload != KEEPALIVE_PAYLOAD:
            self._events.append(Pong(payload))

    def _drain(self) -> None:
        """The peer has seen our first GOAWAY; only a server sends two."""

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.8."""
        self._meters.other_frames.spend(self._now, self._progress)
        self._check_connection_frame("GOAWAY", stream_id)
        if len(payload) < 8:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "FRAME_SIZE_INVALID", f"GOAWAY of {len(payload)} bytes")
        last = int.from_bytes(payload[:4], "big") & STREAM_ID_MAX
        self._events.append(GoAway(last, int.from_bytes(payload[4:8], "big"), payload[8:]))
        self.draining = True
        if self.IS_CLIENT:
            self._refused_above(last)
        self._finish_if_done()

    def _refused_above(self, last_stream_id: int) -> None:
        for stream in [stream for stream in self._streams.values() if stream.id > last_stream_id]:
            self._kill(stream)
            self._events.append(Reset(stream, ErrorCode.REFUSED_STREAM, by_peer=True))

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        """Section 6.9."""
        if len(payload) != 4:  # looked at before asking who is to blame: this frame comes with every call
            _check_size("WINDOW_UPDATE", payload, 4)
        increment = int.from_bytes(payload, "big") & WINDOW_MAX
        self._count_update(increment)
        if stream_id:
            self._open_stream_window(stream_id, increment)
            return
        self._out.window += increment
        if not increment:
            raise protocol_error("WINDOW_UPDATE_INVALID", "WINDOW_UPDATE by 0")
        if self._out.window > WINDOW_MAX:
            message = f"the connection's window would exceed {WINDOW_MAX}"
            raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_OVERFLOW", message)

    def _count_update(self, increment: int) -> None:
        if increment < self.limits.small_window_update_bytes:
            self._meters.small_window_updates.spend(self._now, self._progress)

    def _open_stream_window(self, stream_id: int, increment: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_not_idle("WINDOW_UPDATE", stream_id)
            return
        stream.send_window += increment
        if not increment:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE_INVALID")
        if stream.send_window > WINDOW_MAX:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_OVERFLOW")
        self._out.offer(stream)

    def _refuse(self, fault: StreamFault) -> None:
        """Section 5.4.2. A stream that never came to be is remembered all the same: more of it may be on its way."""
        self._meters.provoked_resets.spend(self._now, self._completed)
        stream = self._streams.get(fault.stream_id)
        if stream is None:
            self._out.owe(rst_stream(fault.stream_id, fault.code))
            self._linger(Stream(fault.stream_id, 0, self._stream_window))
        else:
            self._abort(stream, fault.code)
            self._events.append(Reset(stream, fault.code, by_peer=False, reason=fault.reason))

    def _is_idle(self, stream_id: int) -> bool:
        """Abstract, a role's. Section 5.1, "idle": it has not been opened yet, or never can be."""
        raise NotImplementedError

    def _check_not_idle(self, name: str, stream_id: int) -> None:
        if self._is_idle(stream_id):
            raise protocol_error("STREAM_IDLE", f"{name} on stream {stream_id}, which is idle")

    def _check_stream_id(self, name: str, stream_id: int) -> None:
        if not stream_id:
            raise protocol_error("STREAM_ID_INVALID", f"{name} on stream 0")

    def _check_connection_frame(self, name: str, stream_id: int) -> None:
        if stream_id:
            raise protocol_error("STREAM_ID_INVALID", f"{name} on stream {stream_id}")
