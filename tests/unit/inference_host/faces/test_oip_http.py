"""What stock HTTP clients are answered, without a wire."""

import asyncio
import gc
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from inference_host.faces.http_errors import refusal
from inference_host.faces.oip_http import Face
from inference_host.serving.dataplane import DataPlane
from inference_host.transport.auth import Gate
from inference_host.transport.http1_core import Request, Response
from inference_host.transport.http1_head import Headers
from tests.unit.inference_host.callers import with_plane
from tests.unit.inference_host.planes import BY_HAND, FULL_NAME, READY, Waiting, served
from waypost.errors import BY_CODE, MeshError, Unauthenticated, Unavailable

BODY_BYTES_MAX = 1 << 24
INFER = "/v2/models/forecast/infer"


class Http:
    """A client of one face."""

    def __init__(self, face: Face) -> None:
        self._face = face

    async def ask(self, method: str, target: str, body: object = b"", **headers: str) -> Response:
        """One request and its answer. body: bytes, or what is to be JSON."""
        told: asyncio.Queue[Response] = asyncio.Queue()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._face.begin(Request(method, target, Headers(names), raw), told.put_nowait)
        response = await told.get()
        await asyncio.sleep(0)
        assert told.empty(), "a request is answered once"
        return response


def over_http(scenario: Callable[[Http], Awaitable[Any]], gate: Gate | None = None, **world: Any) -> Any:
    async def main(plane: DataPlane, tasks: asyncio.TaskGroup) -> Any:
        return await scenario(Http(Face(plane, gate or Gate(None, "", lambda: 0.0), "1.2.3", BODY_BYTES_MAX, tasks)))

    return with_plane(main, **world)


def answer(
    method: str, target: str, body: object = b"", *, headers: dict[str, str] | None = None, **world: Any
) -> Response:
    """What one request to a fresh face is answered."""
    response: Response = over_http(lambda http: http.ask(method, target, body, **(headers or {})), **world)
    return response


def read(response: Response) -> Any:
    return json.loads(b"".join(response.body))


def infer(values: list[float] | None = None, **more: object) -> dict[str, object]:
    data = values or [1.0, 2.0]
    return {
        "id": "7",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [len(data) // 2, 2], "data": data}],
        **more,
    }


def test_an_answered_request_is_gone_at_once(collector_off: None) -> None:
    """In a cycle, its bytes would lie until the collector comes: hundreds of megabytes where they are images."""

    async def scenario(http: Http) -> list[object]:
        body = json.dumps(infer(id="the only one")).encode()
        assert (await http.ask("POST", INFER, body)).status == 200
        return [each for each in gc.get_objects() if isinstance(each, Request) and each.body == body]

    assert over_http(scenario) == []


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_model_answers_and_says_who_it_is_and_how_long_it_took() -> None:
    response = answer("POST", INFER, infer())
    assert response.status == 200
    assert read(response) == {
        "model_name": "forecast",
        "model_version": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
        "id": "7",
    }
    headers = dict(response.headers)
    assert headers["waypost-model-version"] == FULL_NAME
    assert response.timing.startswith("queue;dur=")


def test_binary_tensors_go_both_ways() -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    body = head + np.array([1, 2], "<f4").tobytes()
    response = answer("POST", INFER, body, headers={"inference_header_content_length": str(len(head))})
    json_bytes = int(dict(response.headers)["inference-header-content-length"])
    answered = b"".join(response.body)
    assert response.content_type == "application/octet-stream"
    assert json.loads(answered[:json_bytes])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(answered[json_bytes:], "<f4").tolist() == [2.0, 4.0]


def test_a_raw_request_is_the_only_input() -> None:
    response = answer("POST", INFER, np.ones(4, "<f4").tobytes(), headers={"inference_header_content_length": "0"})
    assert response.status == 200
    assert b"".join(response.body).endswith(np.full(4, 2, "<f4").tobytes())


@pytest.mark.parametrize("count", [2, 20_000])  # the second in a thread
@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_be_compressed_both_ways(count: int, coding: str, pack: Callable[[bytes], bytes]) -> None:
    values = np.random.default_rng(1).random(count)
    body = pack(json.dumps(infer(values.tolist())).encode())
    response = answer("POST", INFER, body, headers={"content_encoding": coding, "accept_encoding": f"br, {coding}"})
    answered = b"".join(response.body)
    if count > 2:
        assert dict(response.headers)["content-encoding"] == coding
        answered = gzip.decompress(answered) if coding == "gzip" else zlib.decompress(answered)
    found = json.loads(answered)["outputs"][0]["data"]
    assert np.array(found, np.float32).tolist() == (values.astype(np.float32) * 2).tolist()


@pytest.mark.parametrize("body", [b"no gzip", b"no gzip" * 1000])
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes) -> None:
    response = answer("POST", INFER, body, headers={"content_encoding": "gzip"})
    assert (response.status, read(response)["reason"]) == (400, "BAD_ENCODING")


@pytest.mark.parametrize(
    ("target", "body", "headers", "status", "reason"),
    [
        ("/v2/models/nowhere/infer", infer(), {}, 404, "UNKNOWN_MODEL"),
        ("/v2/models/forecast/versions/8/infer", infer(), {}, 404, "UNKNOWN_VERSION"),
        (INFER, b"{", {}, 400, "BAD_REQUEST"),
        (INFER, b"[]", {}, 400, "BAD_REQUEST"),
        (INFER, infer(outputs=[{"name": "z"}]), {}, 400, "UNKNOWN_OUTPUT"),
        (INFER, infer(parameters={"sequence_id": 5}), {}, 501, "UNSUPPORTED_PARAMETER"),
        (INFER, infer(), {"inference_header_content_length": "9999"}, 400, "BAD_REQUEST"),
        (INFER, infer(), {"inference_header_content_length": "x"}, 400, "BAD_HEADER"),
        (INFER, infer(), {"waypost_timeout_ms": "soon"}, 400, "BAD_HEADER"),
        (INFER, infer(), {"content_encoding": "br"}, 501, "UNKNOWN_ENCODING"),
        (INFER, infer(), {"waypost_timeout_ms": "0"}, 504, "TOO_LATE"),
    ],
)
def test_what_is_wrong_is_told_as_stock_clients_read_it(
    target: str, body: object, headers: dict[str, str], status: int, reason: str
) -> None:
    response = answer("POST", target, body, headers=headers)
    message = read(response)
    assert (response.status, message["reason"]) == (status, reason)
    assert message["error"]


def test_an_infinity_has_no_json_form_and_is_told_how_to_come() -> None:
    model = served(lambda inputs: {"y": np.full((1, 2), np.inf, np.float32)})
    response = answer("POST", INFER, infer(), model=model)
    assert (response.status, read(response)["reason"]) == (400, "NO_JSON_FORM")
    assert "binary_data" in read(response)["hint"]


def test_paths_and_methods_that_are_not_here_say_so() -> None:
    unknown = answer("GET", "/v2/nothing")
    assert (unknown.status, read(unknown)["reason"]) == (404, "UNKNOWN_PATH")
    wrong = answer("GET", INFER)
    assert (wrong.status, dict(wrong.headers)["allow"]) == (405, "POST")
    assert dict(answer("DELETE", "/v2/logging").headers)["allow"] == "GET, POST"
    assert answer("HEAD", "/v2/health/live").status == 200


class Closed(Gate):
    """Lets nobody in."""

    def check(self, authorization: str) -> None:
        raise Unauthenticated("NO_TOKEN", "there is no token")


def test_nobody_gets_past_the_gate_without_credentials() -> None:
    response = answer("GET", "/v2", gate=Closed(None, "", lambda: 0.0))
    assert (response.status, dict(response.headers)["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(("milliseconds", "seconds"), [("1", "1"), ("1000", "1"), ("1001", "2")])
def test_when_to_come_back_is_told_in_whole_seconds(milliseconds: str, seconds: str) -> None:
    response = refusal(Unavailable("QUEUE_FULL", "full", retry_after_ms=milliseconds))
    assert (response.status, dict(response.headers)["retry-after"]) == (503, seconds)


@pytest.mark.parametrize("kind", [*BY_CODE.values()])
def test_every_error_has_a_status_and_says_why(kind: type[MeshError]) -> None:
    response = refusal(kind("SOME_REASON", "something is wrong", "mend it"))
    assert response.status >= 400
    assert read(response) == {"error": "something is wrong", "reason": "SOME_REASON", "hint": "mend it"}


def test_health_and_metadata_are_told() -> None:
    assert read(answer("GET", "/v2/health/live")) == {"live": True}
    assert read(answer("GET", "/v2/health/ready")) == {"ready": True}
    not_ready = answer("GET", "/v2/health/ready", model=served(life=READY.draining()))
    assert (not_ready.status, read(not_ready)) == (503, {"ready": False})
    assert read(answer("GET", "/v2/models/tower-7/ready")) == {"name": "tower-7", "ready": True}
    assert read(answer("GET", "/v2"))["version"] == "1.2.3"
    assert read(answer("GET", "/v2/models")) == {"models": ["forecast"]}
    metadata = answer("GET", "/v2/models/tower-7/versions/7")
    assert read(metadata)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert dict(metadata.headers)["waypost-model-version"] == FULL_NAME


def test_configuration_and_statistics_are_told() -> None:
    assert read(answer("GET", "/v2/models/forecast/config", model=served(rows_max=8)))["max_batch_size"] == 8

    async def scenario(http: Http) -> list[Any]:
        await http.ask("POST", INFER, infer())
        return [read(await http.ask("GET", f"/v2/models/{which}stats")) for which in ("", "forecast/")]

    every, one = over_http(scenario)
    assert every == one
    assert one["model_stats"][0]["inference_stats"]["success"]["count"] == 1


@pytest.mark.parametrize("path", ["/v2/repository", "/v2/repository/any"])
def test_the_repository_is_listed(path: str) -> None:
    listed = [{"name": "forecast", "version": "7", "state": "READY", "reason": ""}]
    assert read(answer("POST", f"{path}/index")) == listed
    assert read(answer("POST", f"{path}/index", {"ready": True}, model=served(life=READY.draining()))) == []


def test_xapps_may_not_change_the_models_of_a_position() -> None:
    for verb in ("load", "unload"):
        response = answer("POST", f"/v2/repository/models/forecast/{verb}", {"parameters": {}})
        assert (response.status, read(response)["reason"]) == (403, "NOT_FOR_XAPPS")


def test_a_model_is_unloaded_by_hand() -> None:
    response = answer("POST", "/v2/repository/models/forecast/unload", place=BY_HAND)
    assert read(response) == {"name": "forecast", "unload": True}
    refused = answer("POST", "/v2/repository/models/forecast/load", {"parameters": {"config": "{}"}}, place=BY_HAND)
    assert refused.status == 501


def test_settings_are_told_and_not_changed() -> None:
    for path in ("/v2/trace/setting", "/v2/models/forecast/trace/setting"):
        assert read(answer("GET", path)) == read(answer("POST", path, {})) == {"trace_level": ["OFF"]}
    assert answer("GET", "/v2/models/nowhere/trace/setting").status == 404
    assert answer("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}).status == 403
    assert read(answer("GET", "/v2/logging"))["log_error"] is True
    assert answer("POST", "/v2/logging", {"log_verbose_level": 9}, place=BY_HAND).status == 501
    assert answer("POST", "/v2/logging", b"[").status == 400


@pytest.mark.parametrize("kind", ["systemsharedmemory", "cudasharedmemory"])
def test_there_is_no_shared_memory(kind: str) -> None:
    assert read(answer("GET", f"/v2/{kind}/status")) == []
    assert answer("GET", f"/v2/{kind}/region/r/status").status == 404
    assert answer("POST", f"/v2/{kind}/region/r/register", {}).status == 501
    assert answer("POST", f"/v2/{kind}/unregister").status == 200
    assert answer("POST", f"/v2/{kind}/region/r/unregister").status == 200


def test_a_request_that_was_withdrawn_is_not_answered() -> None:
    model = Waiting()

    async def main(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[Response]:
        told: list[Response] = []
        face = Face(plane, Gate(None, "", lambda: 0.0), "1", BODY_BYTES_MAX, tasks)
        request = Request("POST", INFER, Headers(), json.dumps(infer()).encode())
        withdraw = face.begin(request, told.append)
        assert withdraw is not None
        await asyncio.sleep(0)
        withdraw()
        model.open.set()
        await Http(face).ask("POST", INFER, infer())
        return told

    assert with_plane(main, served(model, inline=False)) == []
