"""The three ways in which a sample is sent to a model, each to the same host: by hand, over gRPC and over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TypeAlias

from inference_host.serving.dataplane import DataPlane
from inference_host.values.calls import Call
from inference_host.values.tensors import Tensor
from inference_host.workbench import samples
from inference_host.workbench.client import Client
from inference_host.workbench.samples import Sample
from inference_host.workbench.unix_http import Http

INFER = "/inference.GRPCInferenceService/ModelInfer"

Ask: TypeAlias = Callable[[Sample], Awaitable[tuple[Sequence[Tensor], float]]]
"""Sends a sample; the answer, and how long it took in seconds. Raises: MeshError."""


def by_hand(plane: DataPlane, model: str) -> Ask:
    """Timed is the model itself: its steps, and nothing around them."""

    async def ask(sample: Sample) -> tuple[Sequence[Tensor], float]:
        answer = await plane.infer(Call(model, "", sample.inputs, parameters=sample.parameters))
        _, _, compute_s, _ = answer.timing
        return answer.outputs, compute_s

    return ask


def over_grpc(connection: Client, model: str) -> Ask:
    async def ask(sample: Sample) -> tuple[Sequence[Tensor], float]:
        message, began = samples.to_grpc(sample, model), perf_counter()
        answer = await connection.call(INFER, message)
        return samples.from_grpc(answer), perf_counter() - began

    return ask


def over_http(connection: Http, model: str, *, binary: bool) -> Ask:
    async def ask(sample: Sample) -> tuple[Sequence[Tensor], float]:
        body, json_bytes = samples.to_http(sample, binary=binary)
        return await asyncio.to_thread(_post, connection, f"/v2/models/{model}/infer", body, json_bytes)

    return ask


def _post(connection: Http, path: str, body: bytes, json_bytes: int | None) -> tuple[Sequence[Tensor], float]:
    """On a thread."""
    began = perf_counter()
    answer, answer_json_bytes = connection.post(path, body, json_bytes)
    return samples.from_http(answer, answer_json_bytes), perf_counter() - began
