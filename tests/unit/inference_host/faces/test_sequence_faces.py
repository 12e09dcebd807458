"""Sequences as every face carries them, and whose they are."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from inference_host.faces import oip_grpc, oip_http, oip_stream, xapp_grpc
from inference_host.faces.oip_codec import Codec
from inference_host.serving.dataplane import DataPlane
from inference_host.transport import auth
from inference_host.transport.auth import Gate
from inference_host.transport.http1_core import Request, Response
from inference_host.transport.http1_head import Headers
from inference_host.transport.methods import Caller
from mesh import tokens
from tests.unit.inference_host import planes
from tests.unit.inference_host.callers import OPEN, ask, once, with_plane
from tests.unit.inference_host.planes import BY_HAND, served
from tests.unit.inference_host.serving.test_sequence_lane import add, totals
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.inference.v1 import model_config_pb2 as configs
from waypost.api.xapp.v1 import inference_pb2 as xapp

NOW = 1_000_000.0


def over(scenario: Callable[[DataPlane, asyncio.TaskGroup], Awaitable[Any]], *, by_hand: bool = True) -> Any:
    place = BY_HAND if by_hand else planes.PLACE
    return with_plane(scenario, served(add, start=totals), place)


def infer(value: float, id_: int | str, *, start: bool = False, end: bool = False) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(
        model_name="forecast",
        inputs=[oip.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])],
        raw_input_contents=[np.full((1, 2), value, np.float32).tobytes()],
    )
    if isinstance(id_, str):
        request.parameters["sequence_id"].string_param = id_
    else:
        request.parameters["sequence_id"].int64_param = id_
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def total(response: oip.ModelInferResponse) -> float:
    return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


def test_grpc_carries_them() -> None:
    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[float | str]:
        methods = oip_grpc.Face(plane, OPEN, "1", tasks).methods()
        found: list[float | str] = []
        for request in (infer(1, 7, start=True), infer(10, "7", start=True), infer(2, 7, end=True), infer(3, 7)):
            told = await ask(methods, "ModelInfer", request)
            answer = oip.ModelInferResponse.FromString(told.message)
            found.append(told.error.reason if told.error else total(answer))
        return found

    assert over(scenario) == [1.0, 10.0, 3.0, "UNKNOWN_SEQUENCE"]


def test_a_stream_carries_them_in_its_order() -> None:
    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[float]:
        streams = oip_stream.Streams(plane, OPEN, Codec(), tasks)
        requests = once(infer(1, 7, start=True), infer(10, 8, start=True), infer(2, 7), infer(4, 7, end=True))
        answers = [
            oip.ModelStreamInferResponse.FromString(message) async for message in streams.run(requests, Caller())
        ]
        return [total(answer.infer_response) for answer in answers]

    assert over(scenario) == [1.0, 10.0, 3.0, 7.0]


def test_http_carries_them() -> None:
    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[tuple[int, Any]]:
        face = oip_http.Face(plane, OPEN, "1", 1 << 20, tasks)
        found = []
        for parameters in (
            {"sequence_id": 7, "sequence_start": True},
            {"sequence_id": 7, "sequence_end": True},
            {"sequence_id": 7},
            {"sequence_id": "7", "sequence_start": "yes"},
        ):
            body = {"parameters": parameters, "inputs": [INPUT]}
            told: asyncio.Queue[Response] = asyncio.Queue()
            face.begin(
                Request("POST", "/v2/models/forecast/infer", Headers(), json.dumps(body).encode()), told.put_nowait
            )
            response = await told.get()
            content = json.loads(b"".join(response.body))
            found.append((response.status, content["outputs"][0]["data"][0] if "outputs" in content else content))
        return found

    first, second, third, fourth = over(scenario)
    assert (first, second) == ((200, 1.0), (200, 2.0))
    assert (third[0], third[1]["reason"]) == (400, "UNKNOWN_SEQUENCE")
    assert (fourth[0], fourth[1]["reason"]) == (400, "BAD_PARAMETER")


INPUT = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]}


def test_plain_values_carry_them() -> None:
    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[float | str]:
        methods = xapp_grpc.Face(plane, OPEN).methods()
        found: list[float | str] = []
        for sequence in ({"id": "a", "start": True}, {"id": "a", "end": True}, {"id": "a"}, {"start": True}, None):
            request = xapp.InferRequest(inputs=[xapp.Tensor(numbers=[1, 1])], sequence=sequence)
            told = await ask(methods, "Infer", request)
            answer = xapp.InferResponse.FromString(told.message)
            found.append(told.error.reason if told.error else answer.outputs[0].numbers[0])
        return found

    assert over(scenario) == [1.0, 2.0, "UNKNOWN_SEQUENCE", "BAD_PARAMETER", 1.0]


def test_a_sequence_is_its_callers_whatever_token_he_shows(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    (tmp_path / "jwks.json").write_text(tokens.jwks(key))
    gate: Gate = auth.make(tmp_path / "jwks.json", "uid-1", ["unix:/x"], lambda: NOW, no_auth=False)

    def caller(client: str, lifetime_s: float = 60) -> Caller:
        token = tokens.mint(
            key, audience="uid-1", subject="credentials/1", client=client, now=NOW, lifetime_s=lifetime_s
        )
        return Caller({"authorization": f"Bearer {token}"})

    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[float | str]:
        methods = oip_grpc.Face(plane, gate, "1", tasks).methods()
        streams = oip_stream.Streams(plane, gate, Codec(), tasks)
        found: list[float | str] = []
        for who, start in (
            (caller("ann"), True),
            (caller("bob"), False),
            (caller("bob"), True),
            (caller("ann", 90), False),
        ):
            told = await ask(methods, "ModelInfer", infer(1, 7, start=start), who)
            found.append(told.error.reason if told.error else total(oip.ModelInferResponse.FromString(told.message)))
        async for message in streams.run(once(infer(1, 7)), caller("ann")):
            found.append(total(oip.ModelStreamInferResponse.FromString(message).infer_response))
        return found

    assert over(scenario, by_hand=False) == [1.0, "UNKNOWN_SEQUENCE", 1.0, 2.0, 3.0]


def test_the_configuration_says_so_as_stock_clients_read_it() -> None:
    async def scenario(plane: DataPlane, tasks: asyncio.TaskGroup) -> configs.ModelConfig:
        methods = oip_grpc.Face(plane, OPEN, "1", tasks).methods()
        told = await ask(methods, "ModelConfig", configs.ModelConfigRequest(name="forecast"))
        return configs.ModelConfigResponse.FromString(told.message).config

    config = over(scenario)
    assert config.sequence_batching.max_sequence_idle_microseconds == 60_000_000
    assert config.sequence_batching.oldest.max_candidate_sequences == 100
    assert not config.HasField("dynamic_batching")
    assert config.max_batch_size == 0
