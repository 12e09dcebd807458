"""The HTTP face: Open Inference Protocol v2 over REST, with binary tensors. A thin skin over the data plane.

    GET   /v2                                        server metadata
    GET   /v2/health/live, /v2/health/ready
    GET   /v2/models                                 names
    GET   /v2/models/M[/versions/V][/ready]          metadata, readiness
    POST  /v2/models/M[/versions/V]/infer
    POST  /v2/repository/index
    POST  /v2/repository/models/M/load, .../unload   refused

Every error is `{"error": "..."}` with the status of its class (STATUSES), plus `reason` and `hint` for those who read
them. Callers may give `waypost-timeout-ms`. Answers of a model carry the headers of DataPlane.facts.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import unquote

import orjson

from inference_host import oip_json
from inference_host.auth import Gate
from inference_host.calls import Call
from inference_host.dataplane import EXTENSIONS, SERVER_NAME, DataPlane
from inference_host.encodings import COMPRESS_BYTES_MIN, chosen, compressed, decompressed
from inference_host.http1 import Response
from inference_host.http1_core import Request
from waypost import errors
from waypost.errors import Invalid, MeshError

STATUSES: dict[type[MeshError], int] = {
    errors.Invalid: 400,
    errors.OutOfRange: 400,
    errors.AlreadyExists: 400,
    errors.Cancelled: 400,
    errors.Precondition: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Exhausted: 429,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
}
"""What is not here is a fault of ours: 500."""

JSON_BYTES_HEADER = "inference-header-content-length"
TIMEOUT_HEADER = "waypost-timeout-ms"


@dataclass(frozen=True, slots=True)
class _Found:
    """A route with its holes filled."""

    method: str
    answer: "Answer"
    model: str = ""
    version: str = ""


Answer: TypeAlias = Callable[[Request, _Found], Awaitable[Response]]


class Face:
    """Answers HTTP requests. `respond` never raises but for a fault of ours."""

    def __init__(self, plane: DataPlane, gate: Gate, version: str, body_bytes_max: int) -> None:
        """version: of this software. body_bytes_max: of a request, also after decompression."""
        self._plane = plane
        self._gate = gate
        self._version = version
        self._body_bytes_max = body_bytes_max

    async def respond(self, request: Request) -> Response:
        try:
            self._gate.check(request.headers.get("authorization", ""))
            found = self._route(request.target)
            method = "GET" if request.method == "HEAD" else request.method
            if found is None:
                return error_response(404, f"there is nothing at {request.target}", "UNKNOWN_PATH", "see GET /v2")
            if method != found.method:
                wrong = f"{request.method} is not for {request.target}, {found.method} is"
                return _with(error_response(405, wrong, "WRONG_METHOD"), ("allow", found.method))
            return await found.answer(request, found)
        except MeshError as error:
            response = error_response(STATUSES.get(type(error), 500), error.message, error.reason, error.hint)
            return _with(response, ("www-authenticate", "Bearer")) if response.status == 401 else response

    def _route(self, target: str) -> _Found | None:
        path = target.partition("?")[0]
        match [unquote(segment) for segment in path.strip("/").split("/")]:
            case ["v2"]:
                return _Found("GET", self._server)
            case ["v2", "health", "live"]:
                return _Found("GET", self._live)
            case ["v2", "health", "ready"]:
                return _Found("GET", self._ready)
            case ["v2", "models"]:
                return _Found("GET", self._models)
            case ["v2", "models", model, "versions", version, *rest] if version:
                return self._model_route(model, version, rest)
            case ["v2", "models", model, *rest]:
                return self._model_route(model, "", rest)
            case ["v2", "repository", "index"] | ["v2", "repository", _, "index"]:
                return _Found("POST", self._index)
            case ["v2", "repository", "models", model, "load"] | ["v2", "repository", _, "models", model, "load"]:
                return _Found("POST", self._load, model)
            case ["v2", "repository", "models", model, "unload"] | ["v2", "repository", _, "models", model, "unload"]:
                return _Found("POST", self._unload, model)
        return None

    def _model_route(self, model: str, version: str, rest: Sequence[str]) -> _Found | None:
        match rest:
            case []:
                return _Found("GET", self._metadata, model, version)
            case ["ready"]:
                return _Found("GET", self._model_ready, model, version)
            case ["infer"]:
                return _Found("POST", self._infer, model, version)
        return None

    async def _server(self, request: Request, found: _Found) -> Response:
        return json_response(200, {"name": SERVER_NAME, "version": self._version, "extensions": EXTENSIONS})

    async def _live(self, request: Request, found: _Found) -> Response:
        return json_response(200, {"live": True})

    async def _ready(self, request: Request, found: _Found) -> Response:
        ready = self._plane.ready()
        return json_response(200 if ready else 503, {"ready": ready})

    async def _models(self, request: Request, found: _Found) -> Response:
        return json_response(200, {"models": [entry.name for entry in self._plane.index(ready_only=False)]})

    async def _model_ready(self, request: Request, found: _Found) -> Response:
        ready = self._plane.model_ready(found.model, found.version)
        return json_response(200 if ready else 503, {"name": found.model, "ready": ready})

    async def _metadata(self, request: Request, found: _Found) -> Response:
        metadata = self._plane.metadata(found.model, found.version)
        message = {
            "name": metadata.name,
            "versions": [metadata.version],
            "platform": metadata.platform,
            "inputs": metadata.signature.inputs,
            "outputs": metadata.signature.outputs,
        }
        return _with(json_response(200, message), *self._plane.facts(found.model, found.version))

    async def _index(self, request: Request, found: _Found) -> Response:
        entries = self._plane.index(ready_only=_ready_only(request.body))
        return json_response(200, entries)

    async def _load(self, request: Request, found: _Found) -> Response:
        self._plane.refuse_repository_change("load", found.model)

    async def _unload(self, request: Request, found: _Found) -> Response:
        self._plane.refuse_repository_change("unload", found.model)

    async def _infer(self, request: Request, found: _Found) -> Response:
        with self._plane.meter.call() as measured:
            decoded = self._decode(request, found)
            measured.deadline = self._plane.deadline_of(_timeout_s(request), decoded.parameters)
            call = Call(found.model, found.version, decoded.inputs, decoded.id, decoded.outputs, measured.deadline)
            parts, json_bytes = oip_json.encode(await self._plane.infer(call), decoded)
        headers = list(self._plane.facts(found.model, found.version))
        if json_bytes is not None:
            headers.append((JSON_BYTES_HEADER, str(json_bytes)))
        kind = "application/json" if json_bytes is None else "application/octet-stream"
        return _encoded(Response(200, parts, headers, kind), request)

    def _decode(self, request: Request, found: _Found) -> oip_json.Request:
        body = decompressed(request.body, request.headers.get("content-encoding", ""), self._body_bytes_max)
        json_bytes = _number(request, JSON_BYTES_HEADER)
        if json_bytes == 0:
            return oip_json.decode_raw(body, self._plane.metadata(found.model, found.version).signature)
        return oip_json.decode(body, json_bytes)


def json_response(status: int, message: Any) -> Response:
    return Response(status, [orjson.dumps(message)])


def error_response(status: int, message: str, reason: str = "", hint: str = "") -> Response:
    """`error` is what every client of the protocol reads; the rest is there where it says something."""
    details = {"error": message, "reason": reason, "hint": hint}
    return json_response(status, {key: value for key, value in details.items() if value or key == "error"})


def _with(response: Response, *headers: tuple[str, str]) -> Response:
    return replace(response, headers=[*response.headers, *headers])


def _encoded(response: Response, request: Request) -> Response:
    """Compressed where the caller asked for it and it is worth the time."""
    coding = chosen(request.headers.get("accept-encoding", ""))
    if not coding or sum(map(len, response.body)) < COMPRESS_BYTES_MIN:
        return response
    packed = replace(response, body=[compressed(response.body, coding)])
    return _with(packed, ("content-encoding", coding), ("vary", "accept-encoding"))


def _ready_only(body: bytes) -> bool:
    """Stock clients send nothing at all."""
    try:
        message = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise Invalid("BAD_REQUEST", f"the body is no JSON: {error}") from error
    return isinstance(message, dict) and message.get("ready") is True


def _timeout_s(request: Request) -> float | None:
    milliseconds = _number(request, TIMEOUT_HEADER)
    return None if milliseconds is None else milliseconds / 1e3


def _number(request: Request, header: str) -> int | None:
    text = request.headers.get(header)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Invalid("BAD_HEADER", f"{header} is {text[:32]!r}, a whole number is expected")
    return int(text)
