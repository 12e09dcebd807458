"""The few imperative things that the control plane asks for, on behalf of a person."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from google.protobuf.message import DecodeError

from edge_agent.position.assignments import Assignment
from edge_agent.position.record import paths_of
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.probe import PATIENCE_S
from mesh import clock
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.api.link.v1 import command_pb2 as pb
from waypost.api.link.v1.monitor_link_pb2 import Decision
from waypost.errors import Exhausted, Invalid, NotFound, Precondition, Unsupported

LINES = 100  # where none were asked for
LINES_MAX = 10_000
PIECE_CHARS = 64 << 10  # at most 256 KiB of UTF-8
ANSWER_BYTES_MAX = 8 << 20  # a message of 16 MiB ends the link (control_plane.assembly.LINK_BYTES_MAX)


class Commands:
    """find: the assignment of a position that is here, by full name; raises NotFound. woken: after a change.

    renew: gets this agent a new certificate, soon.
    """

    def __init__(
        self,
        parts: Parts,
        find: Callable[[str], Assignment],
        woken: Callable[[str], None],
        renew: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._find = find
        self._woken = woken
        self._renew = renew

    def answer(self, command: pb.Command) -> AsyncIterator[pb.Result]:
        """The pieces of the answer. Raises: MeshError."""
        match command.WhichOneof("kind"):
            case "read_logs":
                return self._read_logs(command.read_logs)
            case "try_inference":
                return self._try_inference(command.try_inference)
            case "clear_rejected":
                clear = partial(self._clear_rejected, command.clear_rejected)
                self._parts.ledger.journal.once(command.id, clear, clock.now())
                return _nothing()
            case "renew_certificate":
                self._parts.ledger.journal.once(command.id, self._renew, clock.now())
                return _nothing()
        raise Unsupported("UNKNOWN_COMMAND", "this agent does not know that command", "update the agent")

    async def read_logs(self, position: str, tail_lines: int) -> AsyncIterator[tuple[str, str]]:
        """(monitor or replica, some of its last lines). position: full name. Raises: NotFound."""
        lines = min(tail_lines or LINES, LINES_MAX)
        logs = await self._parts.driver.logs(self._find(position).uid, lines)
        for source, text in logs.items():
            for start in range(0, max(1, len(text)), PIECE_CHARS):
                yield source, text[start : start + PIECE_CHARS]

    async def _read_logs(self, asked: pb.ReadLogs) -> AsyncIterator[pb.Result]:
        async for source, text in self.read_logs(asked.position, asked.tail_lines):
            yield pb.Result(log=pb.LogPiece(source=source, text=text))

    async def _try_inference(self, asked: pb.TryInference) -> AsyncIterator[pb.Result]:
        assignment = self._find(asked.position)
        record = self._parts.ledger.record(assignment.uid)
        if record is None:
            raise Precondition("NOT_READY", f"{asked.position} is still being set up", "try again in a second")
        request = _request(asked.request)
        request.model_name = request.model_name or assignment.serve_as
        key = paths_of(record, self._parts.layout).signing_key
        began_s = asyncio.get_running_loop().time()
        answer = await self._parts.probe.infer(assignment.uid, key, request, timeout_s=PATIENCE_S)
        latency_ms = (asyncio.get_running_loop().time() - began_s) * 1000
        response = answer.response.SerializeToString()
        if len(response) > ANSWER_BYTES_MAX:
            raise Exhausted(
                "ANSWER_TOO_LARGE",
                f"the answer has {len(response)} bytes, the link carries {ANSWER_BYTES_MAX}",
                "ask for fewer outputs, or call the position itself",
            )
        piece = pb.InferencePiece(response=response, latency_ms=latency_ms)
        yield pb.Result(inference=piece)

    def _clear_rejected(self, asked: pb.ClearRejected) -> None:
        """A decision of its own, numbered above the monitor's, which goes on from there."""
        assignment = self._find(asked.position)
        held = self._parts.ledger.decision(assignment.uid)
        kept = [verdict for verdict in held.verdicts if verdict.digest != asked.digest] if held else []
        if held is None or len(kept) == len(held.verdicts):
            raise NotFound("NOT_REJECTED", f"{asked.position} has not rejected {asked.digest}", "see its status")
        cleared = Decision()
        cleared.CopyFrom(held)
        cleared.number += 1
        cleared.reason = "a rejection was cleared"
        del cleared.verdicts[:]
        cleared.verdicts.extend(kept)
        self._parts.ledger.keep_decision(assignment.uid, cleared)
        self._woken(assignment.uid)


async def _nothing() -> AsyncIterator[pb.Result]:
    """An answer without pieces."""
    pieces: tuple[pb.Result, ...] = ()
    for piece in pieces:
        yield piece


def _request(body: bytes) -> ModelInferRequest:
    try:
        return ModelInferRequest.FromString(body)
    except DecodeError as error:
        raise Invalid("BAD_REQUEST", "the inference request cannot be decoded", "send a ModelInferRequest") from error
