"""POST .../infer: the body of a request to a Call, an Answer to the body of a response.

Like the gRPC face this has neither a task nor a future for a call. Only large compressed bodies are unpacked, and large
answers packed, on a thread: that takes longer than everybody else should wait.
"""

import asyncio
from typing import NamedTuple

from inference_host.faces.http_errors import refusal
from inference_host.faces.oip_routes import Found
from inference_host.faces.replies import server_timing
from inference_host.serving.dataplane import DataPlane
from inference_host.transport.auth import Gate
from inference_host.transport.encodings import (
    COMPRESS_BYTES_MIN,
    COMPRESS_INLINE_BYTES_MAX,
    DECOMPRESS_INLINE_BYTES_MAX,
    chosen,
    compressed,
    decompressed,
)
from inference_host.transport.http1_core import Answer as Respond
from inference_host.transport.http1_core import Request, Response
from inference_host.transport.http1_head import Headers
from inference_host.values import oip_json
from inference_host.values.calls import Answer, Call, Withdraw, as_mesh_error
from inference_host.values.tensors import Buffer
from waypost.errors import Invalid, MeshError

JSON_BYTES_HEADER = "inference-header-content-length"
TIMEOUT_HEADER = "waypost-timeout-ms"
DIGITS_MAX = 18  # of a number in a header: below 2^63


class Inferences:
    """All inferences over HTTP."""

    def __init__(self, plane: DataPlane, gate: Gate, body_bytes_max: int, tasks: asyncio.TaskGroup) -> None:
        """gate: knows who calls. body_bytes_max: of a request after decompression."""
        self.plane = plane
        self.gate = gate
        self.body_bytes_max = body_bytes_max
        self.tasks = tasks

    def begin(self, request: Request, found: Found, respond: Respond) -> Withdraw:
        """Raises: Invalid, Unsupported, and what DataPlane.metadata does."""
        inference = _Inference(self, request, found, respond)
        inference.begin()
        return inference.withdraw


class _Said(NamedTuple):
    """What a request's headers say. Read once, and kept in their note."""

    timeout_s: float | None
    json_bytes: int | None
    coding: str | None
    """How the body is compressed."""
    accepted: str | None


class _Inference:
    """One of them. `_under_way` is how to withdraw what it waits for: unpacking, the model, packing."""

    __slots__ = ("_all", "_arrived", "_form", "_found", "_is_told", "_request", "_respond", "_said", "_under_way")

    def __init__(self, inferences: Inferences, request: Request, found: Found, respond: Respond) -> None:
        self._all = inferences
        self._arrived = inferences.plane.clock()
        self._request = request
        self._said: _Said = request.headers.note or _read(request.headers)
        self._found = found
        self._respond = respond
        self._form: oip_json.Request
        self._under_way: Withdraw | None = None
        self._is_told = False

    def withdraw(self) -> None:
        if self._under_way is not None:
            self._under_way()

    def begin(self) -> None:
        body, coding = self._request.body, self._said.coding
        if coding is None:
            self._submit(body)
        elif len(body) <= DECOMPRESS_INLINE_BYTES_MAX:
            self._submit(decompressed(body, coding, self._all.body_bytes_max))
        else:
            self._under_way = self._all.tasks.create_task(self._unpack(coding), name="unpack").cancel

    async def _unpack(self, coding: str) -> None:
        try:
            body = await asyncio.to_thread(decompressed, self._request.body, coding, self._all.body_bytes_max)
            self._submit(body)
        except Exception as error:  # the life of a request ends here
            self._respond(refusal(as_mesh_error(error)))

    def _submit(self, body: Buffer) -> None:
        self._form = form = self._decoded(body)
        timeout_s = self._said.timeout_s
        deadline = None if timeout_s is None else self._arrived + timeout_s
        model, version = self._found.model, self._found.version
        call = Call(model, version, form.inputs, form.id, form.outputs, deadline, form.parameters, self._arrived)
        if call.parameters:
            call.owner = self._all.gate.owner(self._request.headers.get("authorization", ""))
        withdraw = self._all.plane.submit(call, self._told)
        if not self._is_told:  # else its answer is perhaps being packed
            self._under_way = withdraw

    def _decoded(self, body: Buffer) -> oip_json.Request:
        if self._said.json_bytes == 0:
            signature = self._all.plane.metadata(self._found.model, self._found.version).signature
            return oip_json.decode_raw(body, signature)
        return oip_json.decode(body, self._said.json_bytes)

    def _told(self, outcome: Answer | MeshError) -> None:
        self._is_told = True
        self._under_way = None  # else all of this, the request's bytes too, would wait in a cycle for the collector
        try:
            response = refusal(outcome) if isinstance(outcome, MeshError) else self._response(outcome)
            accepted = self._said.accepted
            coding = _coding(accepted, response) if accepted else ""
            if coding and _size(response) > COMPRESS_INLINE_BYTES_MAX:
                self._under_way = self._all.tasks.create_task(self._pack(response, coding), name="pack").cancel
                return
            if coding:
                _pack(response, coding)
        except Exception as error:  # the life of a request ends here
            response = refusal(as_mesh_error(error))
        self._respond(response)

    def _response(self, answer: Answer) -> Response:
        """Raises: Invalid(NO_JSON_FORM)."""
        parts, json_bytes = oip_json.encode(answer, self._form)
        if json_bytes is None:
            return Response(200, parts, answer.origin.facts, timing=server_timing(answer.timing))
        headers = (*answer.origin.facts, (JSON_BYTES_HEADER, str(json_bytes)))
        return Response(200, parts, headers, "application/octet-stream", server_timing(answer.timing))

    async def _pack(self, response: Response, coding: str) -> None:
        try:
            await asyncio.to_thread(_pack, response, coding)
        except Exception as error:  # the life of a request ends here
            response = refusal(as_mesh_error(error))
        self._respond(response)


def _read(headers: Headers) -> _Said:
    """Raises: Invalid(BAD_HEADER)."""
    milliseconds = _number(headers, TIMEOUT_HEADER)
    said = headers.note = _Said(
        None if milliseconds is None else milliseconds / 1e3,
        _number(headers, JSON_BYTES_HEADER),
        headers.get("content-encoding"),
        headers.get("accept-encoding"),
    )
    return said


def _coding(accepted: str, response: Response) -> str:
    """How to compress a response: as its caller asked for it, where it is worth the time; empty: not at all."""
    return chosen(accepted) if _size(response) >= COMPRESS_BYTES_MIN else ""


def _size(response: Response) -> int:
    return sum(map(len, response.body))


def _pack(response: Response, coding: str) -> None:
    response.body = [compressed(response.body, coding)]
    response.headers = (*response.headers, ("content-encoding", coding), ("vary", "accept-encoding"))


def _number(headers: Headers, header: str) -> int | None:
    text = headers.get(header)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > DIGITS_MAX:
        raise Invalid("BAD_HEADER", f"{header} is {text[:32]!r}, a whole number is expected")
    return int(text)
