"""grpcio's own clients, sync and asyncio, against a real host, whatever serves gRPC there."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.rpc import MESSAGE_BYTES_MAX

SERVICE = "/inference.GRPCInferenceService"
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
PATIENCE_S = 30.0


@pytest.fixture
def channel(grpc_address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(grpc_address, OPTIONS) as channel:
        yield channel


def request(model: str, values: np.ndarray, id_: str = "") -> oip.ModelInferRequest:
    made = oip.ModelInferRequest(model_name=model, id=id_, raw_input_contents=[values.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=values.shape)
    return made


def values_of(answer: oip.ModelInferResponse) -> np.ndarray:
    return np.frombuffer(answer.raw_output_contents[0], "<f4")


def infer(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        f"{SERVICE}/ModelInfer", oip.ModelInferRequest.SerializeToString, oip.ModelInferResponse.FromString
    )


def stream_infer(channel: grpc.Channel) -> grpc.StreamStreamMultiCallable:
    return channel.stream_stream(
        f"{SERVICE}/ModelStreamInfer", oip.ModelInferRequest.SerializeToString, oip.ModelStreamInferResponse.FromString
    )


def slow() -> oip.ModelInferRequest:
    """In flight for a while."""
    return request("slow", np.ones((32, 256, 256), np.float32))


@pytest.mark.parametrize("count", [1, 4_000, 4_100, 30_000, 1_000_000, 10_000_000])
def test_messages_of_any_size_go_both_ways(channel: grpc.Channel, count: int) -> None:
    """Around a frame of 16 KiB, a first window of 64 KiB, and up to 40 MB."""
    sent = np.arange(count, dtype=np.float32).reshape(1, -1)
    assert np.array_equal(values_of(infer(channel)(request("wide", sent), timeout=PATIENCE_S)), sent[0])


def test_a_message_beyond_the_limit_is_refused_and_the_channel_lives(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        infer(channel)(request("wide", np.zeros((1, MESSAGE_BYTES_MAX // 4 + 100), np.float32)), timeout=PATIENCE_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert infer(channel)(request("affine", np.ones((1, 4), np.float32)), timeout=PATIENCE_S).model_name == "affine"


def test_many_calls_at_once_get_each_its_own_answer(channel: grpc.Channel) -> None:
    def caller(number: int) -> None:
        for turn in range(20):
            value = np.full((1, 4), number * 100 + turn, np.float32)
            answer = infer(channel)(request("affine", value, f"{number}-{turn}"), timeout=PATIENCE_S)
            assert (answer.id, values_of(answer)[0]) == (f"{number}-{turn}", 2 * value[0, 0] + 1)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for done in [pool.submit(caller, number) for number in range(32)]:
            done.result()


def test_large_calls_at_once_share_the_connection(channel: grpc.Channel) -> None:
    sent = [np.full((1, 1_000_000), number, np.float32) for number in range(32)]
    calls = [infer(channel).future(request("wide", each), timeout=PATIENCE_S * 2) for each in sent]
    for each, call in zip(sent, calls, strict=True):
        assert np.array_equal(values_of(call.result()), each[0])


def test_compressed_messages_are_read_and_answered_compressed(channel: grpc.Channel) -> None:
    sent = np.zeros((1, 500_000), np.float32)
    for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        answer = infer(channel)(request("wide", sent), timeout=PATIENCE_S, compression=algorithm)
        assert np.array_equal(values_of(answer), sent[0])


def test_metadata_of_any_kind_does_no_harm(channel: grpc.Channel) -> None:
    metadata = [("plain", "a"), ("plain", "b"), ("blob-bin", bytes(range(256))), ("long", "x" * 4000)]
    answer, call = infer(channel).with_call(
        request("affine", np.ones((1, 4), np.float32)), timeout=PATIENCE_S, metadata=metadata
    )
    assert answer.model_name == "affine"
    assert dict(call.trailing_metadata())["waypost-model-version"] == "affine/1"
    assert "total;dur=" in dict(call.trailing_metadata())["server-timing"]


def test_a_deadline_ends_a_call_and_the_channel_lives(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as ended:
        infer(channel)(slow(), timeout=0.01)
    assert ended.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    assert infer(channel)(request("affine", np.ones((1, 4), np.float32)), timeout=PATIENCE_S).model_name == "affine"


def test_a_call_may_be_cancelled(channel: grpc.Channel) -> None:
    calls = [infer(channel).future(slow()) for _ in range(8)]
    for call in calls:
        call.cancel()
    assert all(call.cancelled() for call in calls)
    assert infer(channel)(request("affine", np.ones((1, 4), np.float32)), timeout=PATIENCE_S).model_name == "affine"


def test_a_stream_answers_each_message_in_its_order(channel: grpc.Channel) -> None:
    sent = [np.full((1, 4), number, np.float32) for number in range(200)]
    answers = stream_infer(channel)((request("affine", each) for each in sent), timeout=PATIENCE_S)
    found = [values_of(answer.infer_response)[0] for answer in answers]
    assert found == [2.0 * number + 1 for number in range(200)]


def test_a_stream_carries_large_messages(channel: grpc.Channel) -> None:
    sent = [np.full((1, size), 1.0, np.float32) for size in (10, 2_500_000, 100, 5_000_000)]
    answers = stream_infer(channel)((request("wide", each) for each in sent), timeout=PATIENCE_S)
    assert [values_of(answer.infer_response).size for answer in answers] == [each.size for each in sent]


def test_a_stream_may_be_left_in_the_middle(channel: grpc.Channel) -> None:
    endless = iter(lambda: request("affine", np.ones((1, 4), np.float32)), None)
    answers = stream_infer(channel)(endless, timeout=PATIENCE_S)
    for _ in range(5):
        assert next(answers).infer_response.model_name == "affine"
    answers.cancel()
    assert infer(channel)(request("affine", np.ones((1, 4), np.float32)), timeout=PATIENCE_S).model_name == "affine"


def test_a_stream_has_a_deadline(channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=0.2)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as ended:
        next(watch)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_asyncio_client_does_all_of_it_too(grpc_address: str) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), grpc.aio.insecure_channel(grpc_address, OPTIONS) as channel:
            call = infer(channel)
            ones = request("affine", np.ones((1, 4), np.float32))
            answers = await asyncio.gather(*(call(ones) for _ in range(64)))
            assert {values_of(answer)[0] for answer in answers} == {3.0}
            large = await call(request("wide", np.arange(3_000_000, dtype=np.float32).reshape(1, -1)))
            assert values_of(large)[-1] == 2_999_999
            late = call(slow())
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request("nowhere", np.ones((1, 4), np.float32)))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert [answer async for answer in stream_infer(channel)(_several(ones))] != []

    async def _several(one: oip.ModelInferRequest) -> AsyncIterator[oip.ModelInferRequest]:
        for _ in range(10):
            yield one

    asyncio.run(scenario())
