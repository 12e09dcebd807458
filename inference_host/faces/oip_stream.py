"""ModelStreamInfer: one caller's requests as they come, their answers in the same order.

    requests ──▶ read (a task) ──▶ DataPlane.submit ──▶ turns ──▶ answers: waits for each in its turn

Several requests are under way at once, so that a caller who does not wait for each answer shares batches with himself.
A stream has room for `TURNS_MAX` of them; then it is read on when an answer has left.

An error of one request is a message of the stream, which lives on; with metadata `triton_grpc_error: true` it ends the
stream as a status, as stock clients expect it.

When the host drains, streams are not read any more: what is under way is answered, and then a stream ends with
UNAVAILABLE, unless its caller had ended it before.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from inference_host.faces.oip_codec import Codec, length_bytes
from inference_host.serving.dataplane import DataPlane
from inference_host.transport.auth import Gate
from inference_host.transport.methods import Caller
from inference_host.values.calls import Answer, Owner, as_mesh_error
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import MeshError, Unavailable

TURNS_MAX = 64  # more than share a batch; an answer that waits for its turn holds its tensors meanwhile
END_AT_ERRORS = "triton_grpc_error"
WANTS_LAST = "triton_enable_empty_final_response"

_RESPONSE = bytes([2 << 3 | 2])  # field 2 of ModelStreamInferResponse, of which a length follows
_LAST = oip.ModelInferResponse(
    parameters={"triton_final_response": oip.InferParameter(bool_param=True)}
).SerializeToString()


@dataclass(slots=True, eq=False)
class _Turn:
    """One request, from when it was read."""

    answer: asyncio.Future[Answer | MeshError]
    """Cancelled where nobody waits any more."""
    id: str = ""
    wants_last: bool = False
    """Whether the caller asked for a mark on the last answer to a request; ours have one answer."""


class Streams:
    """All streams of a host."""

    def __init__(self, plane: DataPlane, gate: Gate, codec: Codec, tasks: asyncio.TaskGroup) -> None:
        self._plane = plane
        self._gate = gate
        self._codec = codec
        self._tasks = tasks
        self._readers: set[asyncio.Task[MeshError | None]] = set()
        self._draining = False

    async def run(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        """One stream (methods.Streaming)."""
        if self._draining:
            raise _draining()
        stream = _Stream(self._plane, self._codec, caller, self._gate.owner(caller.authorization))
        reader = self._tasks.create_task(stream.read(requests), name="stream-reader")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        reader.add_done_callback(stream.end)
        try:
            while (message := await stream.answer()) is not None:
                yield message
                stream.make_room()
        finally:
            reader.cancel()
            stream.withdraw()

    def drain(self) -> None:
        """No stream is read any more."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()


class _Stream:
    def __init__(self, plane: DataPlane, codec: Codec, caller: Caller, owner: Owner) -> None:
        """owner: of its sequences. Asked for once: a stream may live longer than the token that it came with."""
        self._plane = plane
        self._codec = codec
        self._caller = caller
        self._owner = owner
        self._ends_at_errors = caller.metadata.get(END_AT_ERRORS) == "true"
        self._room = asyncio.Semaphore(TURNS_MAX)
        self._turns: asyncio.Queue[_Turn | MeshError | None] = asyncio.Queue()
        """In order; at last why the stream ends, or None where its caller ended it."""

    async def read(self, requests: AsyncIterator[bytes]) -> MeshError | None:
        """Begins each request as it comes. Returns why the stream cannot go on, None where its caller ended it."""
        try:
            async for body in requests:
                await self._room.acquire()
                self._turns.put_nowait(self._begin(body))
        except Exception as error:  # the life of a stream ends here
            return as_mesh_error(error)
        return None

    def end(self, reader: asyncio.Task[MeshError | None]) -> None:
        """After its last request, or where it is not to be read any more."""
        self._turns.put_nowait(_draining() if reader.cancelled() else reader.result())

    async def answer(self) -> bytes | None:
        """The next message; None at the end. Raises: MeshError, the stream's status."""
        turn = await self._turns.get()
        if not isinstance(turn, _Turn):
            if turn is not None:
                raise turn
            return None
        answer = await turn.answer
        if isinstance(answer, MeshError) and self._ends_at_errors:
            raise answer
        return self._message(turn, answer)

    def make_room(self) -> None:
        """An answer has left."""
        self._room.release()

    def withdraw(self) -> None:
        """Nobody waits for what is under way."""
        while not self._turns.empty():
            turn = self._turns.get_nowait()
            if isinstance(turn, _Turn):
                turn.answer.cancel()

    def _begin(self, body: bytes) -> _Turn:
        arrived = self._plane.clock()
        turn = _Turn(asyncio.get_running_loop().create_future())
        try:
            call = self._codec.decode(body)
        except MeshError as error:
            turn.answer.set_result(error)
            return turn
        call.arrived, call.deadline, call.owner = arrived, self._caller.deadline, self._owner
        turn.id, turn.wants_last = call.id, (call.parameters or {}).get(WANTS_LAST) is True
        withdraw = self._plane.submit(call, partial(_tell, turn))
        turn.answer.add_done_callback(lambda answer: answer.cancelled() and withdraw())
        return turn

    def _message(self, turn: _Turn, answer: Answer | MeshError) -> bytes:
        if isinstance(answer, MeshError):  # stock servers repeat the id: several requests may be under way
            response = oip.ModelInferResponse(id=turn.id) if turn.id else None
            return oip.ModelStreamInferResponse(error_message=str(answer), infer_response=response).SerializeToString()
        parts = [*self._codec.encode(answer), _LAST if turn.wants_last else b""]
        return b"".join([_RESPONSE, length_bytes(sum(map(len, parts))), *parts])


def _tell(turn: _Turn, answer: Answer | MeshError) -> None:
    if not turn.answer.done():
        turn.answer.set_result(answer)


def _draining() -> Unavailable:
    return Unavailable("DRAINING", "this host is stopping", "open the stream again: another replica answers")
