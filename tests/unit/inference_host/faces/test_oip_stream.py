"""Streams of inferences: several under way, answers in order, and every way in which a stream can end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from inference_host.faces.oip_grpc import Face
from inference_host.faces.oip_stream import TURNS_MAX
from inference_host.transport.methods import Caller, Streaming
from tests.unit.inference_host.callers import behaviour, once, over_grpc
from tests.unit.inference_host.planes import Waiting, served
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Internal, NotFound, Unavailable


def infer(number: int, model: str = "forecast", *, wants_last: bool = False) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name=model, id=str(number))
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(np.full((1, 2), number, np.float32).tobytes())
    if wants_last:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


class Requests:
    """A caller who sends when he likes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.read = 0

    def send(self, request: oip.ModelInferRequest) -> None:
        self._queue.put_nowait(request.SerializeToString())

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (body := await self._queue.get()) is not None:
            self.read += 1
            yield body


def stream(face: Face, requests: AsyncIterator[bytes], **metadata: str) -> AsyncIterator[bytes]:
    streaming = behaviour(face.methods(), "ModelStreamInfer")
    assert isinstance(streaming, Streaming)
    return streaming.run(requests, Caller(metadata))


def read(message: bytes) -> oip.ModelStreamInferResponse:
    return oip.ModelStreamInferResponse.FromString(message)


async def settle() -> None:
    """Everybody who can go on has gone on."""
    for _ in range(TURNS_MAX * 4):
        await asyncio.sleep(0)


def test_answers_come_in_the_order_of_their_requests() -> None:
    async def scenario(face: Face) -> list[tuple[str, float]]:
        answers = [read(message).infer_response async for message in stream(face, once(*map(infer, range(200))))]
        return [(answer.id, np.frombuffer(answer.raw_output_contents[0], "<f4")[0]) for answer in answers]

    assert over_grpc(scenario) == [(str(number), 2.0 * number) for number in range(200)]


def test_several_requests_are_under_way_at_once_but_not_any_number() -> None:
    model = Waiting()

    async def scenario(face: Face) -> tuple[int, int, list[str]]:
        requests = Requests()
        for number in range(3 * TURNS_MAX):
            requests.send(infer(number))
        requests.end()
        answering = stream(face, requests)
        first = asyncio.ensure_future(anext(answering))
        await settle()
        under_way, taken = model.calls, requests.read
        model.open.set()
        answers = [read(await first), *[read(message) async for message in answering]]
        return under_way, taken, [answer.infer_response.id for answer in answers]

    under_way, taken, ids = over_grpc(scenario, served(model, inline=False))
    assert under_way == TURNS_MAX
    assert taken == TURNS_MAX + 1  # the next one is held until there is room
    assert ids == [str(number) for number in range(3 * TURNS_MAX)]


def test_a_stream_lives_on_after_an_error_that_names_its_request() -> None:
    async def scenario(face: Face) -> list[Any]:
        requests = once(infer(1), infer(2, "nowhere"), b"\xff", infer(3))
        return [read(message) async for message in stream(face, requests)]

    good, unknown, nonsense, last = over_grpc(scenario)
    assert (good.error_message, good.infer_response.id, last.infer_response.id) == ("", "1", "3")
    assert "nowhere" in unknown.error_message
    assert unknown.infer_response.id == "2"
    assert nonsense.error_message
    assert not nonsense.HasField("infer_response")


def test_a_stream_ends_with_a_status_for_clients_that_want_it() -> None:
    async def scenario(face: Face) -> list[str]:
        answering = stream(face, once(infer(1), infer(2, "nowhere"), infer(3)), triton_grpc_error="true")
        ids = [read(await anext(answering)).infer_response.id]
        with pytest.raises(NotFound):
            await anext(answering)
        return ids

    assert over_grpc(scenario) == ["1"]


def test_the_last_answer_of_a_request_is_marked_where_asked() -> None:
    async def scenario(face: Face) -> list[bool]:
        requests = once(infer(1), infer(2, wants_last=True))
        answers = [read(message).infer_response async for message in stream(face, requests)]
        return ["triton_final_response" in answer.parameters for answer in answers]

    assert over_grpc(scenario) == [False, True]


def test_a_drain_answers_what_is_under_way_and_then_ends_the_stream() -> None:
    model = Waiting()

    async def scenario(face: Face) -> list[str]:
        requests = Requests()
        answering = stream(face, requests)
        requests.send(infer(1))
        first = asyncio.ensure_future(anext(answering))
        await settle()
        face.drain()
        requests.send(infer(2))
        await settle()
        model.open.set()
        ids = [read(await first).infer_response.id]
        with pytest.raises(Unavailable) as ended:
            await anext(answering)
        return [*ids, ended.value.reason]

    assert over_grpc(scenario, served(model, inline=False)) == ["1", "DRAINING"]
    assert model.calls == 1


def test_a_drain_ends_a_stream_that_was_opened_a_moment_ago_and_refuses_the_next() -> None:
    async def scenario(face: Face) -> list[str]:
        reasons = []
        first = asyncio.ensure_future(anext(stream(face, Requests())))
        await asyncio.sleep(0)  # its reader has not had its first turn yet
        face.drain()
        for answer in (first, anext(stream(face, Requests()))):
            with pytest.raises(Unavailable) as ended:
                await answer
            reasons.append(ended.value.reason)
        return reasons

    assert over_grpc(scenario) == ["DRAINING", "DRAINING"]


def test_a_drain_does_not_disturb_a_stream_that_its_caller_had_ended() -> None:
    model = Waiting()

    async def scenario(face: Face) -> list[str]:
        answering = stream(face, once(infer(1), infer(2)))
        first = asyncio.ensure_future(anext(answering))
        await settle()
        face.drain()
        model.open.set()
        return [read(await first).infer_response.id, *[read(message).infer_response.id async for message in answering]]

    assert over_grpc(scenario, served(model, inline=False)) == ["1", "2"]


def test_a_caller_who_goes_away_withdraws_all_that_is_under_way() -> None:
    model = Waiting()

    async def scenario(face: Face) -> None:
        requests = Requests()
        for number in range(5):
            requests.send(infer(number))
        task = asyncio.ensure_future(anext(stream(face, requests)))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        await settle()

    over_grpc(scenario, served(model, inline=False))  # and the reader has ended, or this would not
    assert (model.calls, model.cancelled) == (5, 5)


def test_a_connection_that_breaks_ends_the_stream_after_what_is_under_way() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield infer(1).SerializeToString()
        raise ConnectionResetError

    async def scenario(face: Face) -> str:
        answering = stream(face, broken())
        answer = read(await anext(answering)).infer_response.id
        with pytest.raises(Internal):
            await anext(answering)
        return answer

    assert over_grpc(scenario) == "1"
