"""The HTTP face: Open Inference Protocol v2 over REST, with binary tensors. A thin skin over the data plane.

    GET       v2                                            server metadata
    GET       v2/health/live, v2/health/ready
    GET       v2/models                                     names
    GET       v2/models/M[/versions/V]                      metadata; .../ready, .../config, .../stats
    GET       v2/models/stats                               of all models
    POST      v2/models/M[/versions/V]/infer                http_inference
    POST      v2/repository[/R]/index, .../models/M/load, .../models/M/unload
    GET POST  v2[/models/M]/trace/setting, v2/logging       told; not changed
    GET POST  v2/systemsharedmemory/..., v2/cudasharedmemory/...    there is none

Errors are told as http_errors says. Answers about a model carry the headers of DataPlane.facts, inferences those of
replies.around. Nothing waits here but loading and what is compressed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import orjson

from inference_host.faces import oip_extensions
from inference_host.faces.http_errors import error_response, json_response, refusal
from inference_host.faces.http_inference import Inferences
from inference_host.faces.oip_routes import Action, Found, Routes
from inference_host.serving.dataplane import EXTENSIONS, SERVER_NAME, DataPlane
from inference_host.transport.auth import Gate
from inference_host.transport.http1_core import Answer, Request, Response
from inference_host.values.calls import Withdraw, as_mesh_error
from waypost.errors import Invalid, MeshError, NotFound

__all__ = ["Face", "error_response"]

AtOnce: TypeAlias = Callable[[Request, Found], Response]
Later: TypeAlias = Callable[[Request, Found], Awaitable[Response]]


class Face:
    """Answers HTTP requests."""

    def __init__(
        self, plane: DataPlane, gate: Gate, version: str, body_bytes_max: int, tasks: asyncio.TaskGroup
    ) -> None:
        """version: of this software. body_bytes_max: of a request after decompression. tasks: for what takes long."""
        self._plane = plane
        self._gate = gate
        self._version = version
        self._tasks = tasks
        self._routes = Routes(self._table(Inferences(plane, gate, body_bytes_max, tasks)))

    def begin(self, request: Request, answer: Answer) -> Withdraw | None:
        """Answers at once or later; never after it was withdrawn."""
        try:
            self._gate.check(request.headers.get("authorization", ""))
            found = self._routes.find(request.target)
            if found is None:
                answer(error_response(404, f"there is nothing at {request.target}", "UNKNOWN_PATH", "see GET /v2"))
                return None
            action = found.actions.get("GET" if request.method == "HEAD" else request.method)
            if action is None:
                answer(_wrong_method(request, found))
                return None
            return action(request, found, answer)
        except MeshError as error:
            answer(refusal(error))
            return None

    def _table(self, inferences: Inferences) -> Mapping[str, Mapping[str, Action]]:
        def get(function: AtOnce) -> Mapping[str, Action]:
            return {"GET": _at_once(function)}

        def post(function: AtOnce) -> Mapping[str, Action]:
            return {"POST": _at_once(function)}

        def both(function: AtOnce) -> Mapping[str, Action]:
            return {**get(function), **post(function)}

        model = "v2/models/{model}[/versions/{version}]"
        repository = "v2/repository[/{repository}]"
        table = {
            f"{model}/infer": {"POST": inferences.begin},
            "v2": get(self._server),
            "v2/health/live": get(self._live),
            "v2/health/ready": get(self._ready),
            "v2/models": get(self._models),
            "v2/models/stats": get(self._statistics),
            model: get(self._metadata),
            f"{model}/ready": get(self._model_ready),
            f"{model}/config": get(self._config),
            f"{model}/stats": get(self._statistics),
            f"{repository}/index": post(self._index),
            f"{repository}/models/{{model}}/load": {"POST": self._in_task(self._load)},
            f"{repository}/models/{{model}}/unload": {"POST": self._in_task(self._unload)},
            "v2[/models/{model}]/trace/setting": both(self._trace_setting),
            "v2/logging": both(self._log_settings),
        }
        for kind in ("systemsharedmemory", "cudasharedmemory"):
            table[f"v2/{kind}/status"] = get(self._no_regions)
            table[f"v2/{kind}/region/{{region}}/status"] = get(self._unknown_region)
            table[f"v2/{kind}/region/{{region}}/register"] = post(self._refuse_region)
            table[f"v2/{kind}[/region/{{region}}]/unregister"] = post(self._no_regions)
        return table

    def _in_task(self, function: Later) -> Action:
        async def run(request: Request, found: Found, answer: Answer) -> None:
            try:
                response = await function(request, found)
            except Exception as error:  # the life of a request ends here
                response = refusal(as_mesh_error(error))
            answer(response)

        def action(request: Request, found: Found, answer: Answer) -> Withdraw:
            return self._tasks.create_task(run(request, found, answer), name="http-request").cancel

        return action

    # -- who is here

    def _server(self, request: Request, found: Found) -> Response:
        return json_response(200, {"name": SERVER_NAME, "version": self._version, "extensions": EXTENSIONS})

    def _live(self, request: Request, found: Found) -> Response:
        return json_response(200, {"live": True})

    def _ready(self, request: Request, found: Found) -> Response:
        ready = self._plane.ready()
        return json_response(200 if ready else 503, {"ready": ready})

    def _models(self, request: Request, found: Found) -> Response:
        return json_response(200, {"models": [entry.name for entry in self._plane.index(ready_only=False)]})

    def _model_ready(self, request: Request, found: Found) -> Response:
        ready = self._plane.model_ready(found.model, found.version)
        return json_response(200 if ready else 503, {"name": found.model, "ready": ready})

    def _metadata(self, request: Request, found: Found) -> Response:
        metadata = self._plane.metadata(found.model, found.version)
        message = {
            "name": metadata.name,
            "versions": [metadata.version],
            "platform": metadata.platform,
            "inputs": metadata.signature.inputs,
            "outputs": metadata.signature.outputs,
        }
        response = json_response(200, message)
        response.headers = self._plane.facts(found.model, found.version)
        return response

    def _config(self, request: Request, found: Found) -> Response:
        config = self._plane.config(found.model, found.version)
        return json_response(200, oip_extensions.as_json(oip_extensions.config_message(config)))

    def _statistics(self, request: Request, found: Found) -> Response:
        found_statistics = self._plane.statistics(found.model, found.version)
        return json_response(200, oip_extensions.as_json(oip_extensions.statistics_message(found_statistics)))

    # -- the repository

    def _index(self, request: Request, found: Found) -> Response:
        return json_response(200, self._plane.index(ready_only=_json_object(request).get("ready") is True))

    async def _load(self, request: Request, found: Found) -> Response:
        parameters = _json_object(request).get("parameters")
        names = parameters if isinstance(parameters, dict) else {}
        oip_extensions.refuse_files(names, by_hand=self._plane.place.by_hand)
        await self._plane.load(found.model)
        return json_response(200, {"name": found.model, "load": True})

    async def _unload(self, request: Request, found: Found) -> Response:
        await self._plane.unload(found.model)
        return json_response(200, {"name": found.model, "unload": True})

    # -- settings

    def _trace_setting(self, request: Request, found: Found) -> Response:
        if found.model:
            self._plane.model_ready(found.model, "")  # NotFound where there is none
        wanted = _changes(request)
        return json_response(200, oip_extensions.trace_settings(wanted, by_hand=self._plane.place.by_hand))

    def _log_settings(self, request: Request, found: Found) -> Response:
        wanted = _changes(request)
        return json_response(200, oip_extensions.log_settings(wanted, by_hand=self._plane.place.by_hand))

    # -- shared memory

    def _no_regions(self, request: Request, found: Found) -> Response:
        """The status, and what is left where one or all are to go."""
        return json_response(200, [])

    def _unknown_region(self, request: Request, found: Found) -> Response:
        raise NotFound("UNKNOWN_REGION", f"no region {found.region!r} is registered", oip_extensions.MEMORY_HINT)

    def _refuse_region(self, request: Request, found: Found) -> Response:
        raise oip_extensions.no_shared_memory()


def _at_once(function: AtOnce) -> Action:
    def action(request: Request, found: Found, answer: Answer) -> None:
        answer(function(request, found))

    return action


def _wrong_method(request: Request, found: Found) -> Response:
    allowed = ", ".join(found.actions)
    response = error_response(
        405, f"{request.method} is not for {request.target}, {allowed} is", "WRONG_METHOD", "see the header Allow"
    )
    response.headers = [("allow", allowed)]
    return response


def _changes(request: Request) -> dict[str, Any]:
    """What settings are to become. Raises: Invalid."""
    return _json_object(request) if request.method == "POST" else {}


def _json_object(request: Request) -> dict[str, Any]:
    """The body; stock clients send nothing at all where they have nothing to say. Raises: Invalid."""
    try:
        message = orjson.loads(request.body) if request.body else {}
    except orjson.JSONDecodeError as error:
        raise Invalid("BAD_REQUEST", f"the body is no JSON: {error}", "send a JSON object, or nothing") from error
    if not isinstance(message, dict):
        raise Invalid("BAD_REQUEST", "the body is no JSON object", "send a JSON object, or nothing")
    return message
