"""The blocking face of the SDK. Thread-safe: one connection serves all threads of an xApp.

One daemon thread per connection reports closed loops; everything else happens in the caller's thread.
"""

import threading
import time
from types import TracebackType
from typing import Self, TypeVar

import grpc

from waypost._core import DEFAULT_TIMEOUT_S, SequenceStep, Session
from waypost._position import PositionFace, new_session
from waypost._steps import Call, Pause, Reply, Steps, headers, methods
from waypost.answer import Answer
from waypost.errors import Cancelled, MeshError
from waypost.loop import FLUSH_S, REPORT_PACE_S, REPORT_TIMEOUT_S, LoopRecord
from waypost.rpc import Tls, open_channel
from waypost.tensors import Signature

T = TypeVar("T")


def connect(
    address: str,
    *,
    position: str,
    token: str,
    client: str = "",
    timeout: float = DEFAULT_TIMEOUT_S,
    tls: Tls | None = None,
) -> "Position":
    """A connection to one position, registered and ready.

    address: the gateway, `http://127.0.0.1:7680`; `https://` speaks TLS. position: uid, full or short name
    (`uav/path-prediction/tower-7`). token: the application's, `wp1_...`. client: what this xApp calls itself in the
    position's figures. timeout: seconds for all of this. tls: what to trust, where the system's roots are not it.
    Raises: Invalid (a malformed name), Unauthenticated (the token), NotFound (the position), Unavailable (the
    gateway), DeadlineExceeded.
    """
    session = new_session(address, position, token, client)
    channel = open_channel(address, tls=tls)
    connection = Position(session, channel)
    try:
        connection._play(session.register(timeout))
    except BaseException:
        connection.close()
        raise
    return connection


class Position(PositionFace):
    """A connection to one position; `connect` makes it. Close it, or use it in a `with` block."""

    def __init__(self, session: Session, channel: grpc.Channel) -> None:
        super().__init__(session)
        self._channel = channel
        self._methods = methods(channel)
        self._closing = threading.Event()
        self._loops_waiting = threading.Event()
        self._reporter = threading.Thread(target=self._report, name="waypost-loops", daemon=True)
        self._reporter.start()

    def infer(
        self,
        inputs: object,
        *,
        timeout: float | None = None,
        sequence_id: int | str | None = None,
        sequence_start: bool = False,
        sequence_end: bool = False,
    ) -> Answer:
        """Asks the position's model.

        inputs: for a model with one input its value, else a dict by input name. A value is a numpy array of exactly
        the model's dtype and shape, or plain numbers, strings and nested lists, which are fitted to it
        (`waypost.tensors` has the rules).
        timeout: seconds, retries included; default 5, or what remains of the closed loop.
        sequence_id, sequence_start, sequence_end: for models that keep state: of which sequence the call is a step,
        whether it is the first and whether it is the last. Make a step when the one before is answered.
        Raises: MeshError; Invalid where the inputs do not fit, before anything is sent.
        """
        step = SequenceStep.of(sequence_id, sequence_start, sequence_end)
        with self._call_time(timeout) as timeout_s:
            return self._play(self._session.infer(inputs, timeout_s, step))

    def signature(self, *, timeout: float | None = None) -> Signature:
        """What the model takes and gives now."""
        with self._call_time(timeout) as timeout_s:
            return self._play(self._session.signature(timeout_s))

    def close(self) -> None:
        """Delivers the last loop reports, for a second at most, and disconnects. May be called twice."""
        if self._closed or self._in_a_fork():
            return
        self._closed = True
        self._closing.set()
        self._loops_waiting.set()
        self._reporter.join(FLUSH_S)
        self._channel.close()

    def _play(self, script: Steps[T]) -> T:
        """Plays a script (`_steps.py`) to its end with blocking calls."""
        reply: Reply | None = None
        error: MeshError | None = None
        try:
            while True:
                step = script.send(reply) if error is None else script.throw(error)
                reply = error = None
                try:
                    reply = self._perform(step)
                except MeshError as failed:
                    error = failed
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            script.close()  # when this thread is interrupted, what the script holds is let go

    def _perform(self, step: Call | Pause) -> Reply | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            message, call = self._methods[step.rpc.path].with_call(step.request, step.timeout_s, step.metadata)
        except ValueError as error:  # what grpc raises for a closed channel
            if not self._closed:
                raise
            raise Cancelled("CLOSED", f"the connection to {self.name} was closed during the call") from error
        return Reply(message, headers(call.initial_metadata(), call.trailing_metadata()))

    def _loop_ended(self, record: LoopRecord) -> None:
        self._session.loops.add(record)
        self._loops_waiting.set()

    def _report(self) -> None:
        while not self._closing.is_set():
            self._loops_waiting.wait()
            self._closing.wait(REPORT_PACE_S)  # loops gather to a batch meanwhile
            self._loops_waiting.clear()
            self._deliver_reports(REPORT_TIMEOUT_S)
            if self.loops.pending:
                self._loops_waiting.set()
        self._deliver_reports(FLUSH_S)

    def _deliver_reports(self, timeout_s: float) -> None:
        while self._play(self._session.report(timeout_s)):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
