"""Sequences by stock clients, unmodified: gRPC, HTTP, asyncio and streams, against a real host."""

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

import waypost
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Serves a model that adds up what a sequence sends."""
    directory = tmp_path_factory.mktemp("totals")
    with hosts.by_hand(models.totals(directory / "model"), directory / "log", front="grpcio") as host:
        yield host
        assert host.stop() == 0


@pytest.fixture
def address(host: RunningHost, front: str) -> str:
    return host.grpc(front)


def x(value: int, library: Any = triton) -> list[Any]:
    made = library.InferInput("x", [1], "INT32")
    made.set_data_from_numpy(np.array([value], np.int32))
    return [made]


def total(result: Any) -> int:
    return int(result.as_numpy("y")[0])


def test_a_sequence_has_its_own_sum(address: str) -> None:
    with triton.InferenceServerClient(address) as client:

        def step(value: int, id_: int | str, **flags: bool) -> int:
            return total(client.infer("totals", x(value), sequence_id=id_, **flags))

        assert step(1, 1001, sequence_start=True) == 1
        assert step(10, "tower-7", sequence_start=True) == 10
        assert step(2, 1001) == 3
        assert step(20, "tower-7", sequence_end=True) == 30
        assert step(3, 1001, sequence_end=True) == 6
        for id_ in (1001, "tower-7"):
            with pytest.raises(InferenceServerException) as unknown:
                step(1, id_)
            assert unknown.value.status() == "StatusCode.INVALID_ARGUMENT"
            assert "sequence_start" in str(unknown.value)


def test_the_sdk_takes_steps_too(address: str) -> None:
    with waypost.connect(f"http://{address}", position="local/host/totals", token="none") as position:
        steps = [position.infer([value], sequence_id=7, sequence_start=value == 1)["y"][0] for value in (1, 2, 3)]
        assert steps == [1, 3, 6]
        assert position.infer([4], sequence_id=7, sequence_end=True)["y"][0] == 10
        with pytest.raises(waypost.Invalid) as unknown:
            position.infer([5], sequence_id=7)
        assert unknown.value.reason == "UNKNOWN_SEQUENCE"


def test_a_call_of_no_sequence_is_one_of_its_own(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        assert [total(client.infer("totals", x(5))) for _ in range(2)] == [5, 5]


def test_steps_in_flight_together_keep_their_order(address: str) -> None:
    heard: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: heard.put(error or result))
        for value in range(1, 51):
            for id_ in (1, 2):
                client.async_stream_infer(
                    "totals",
                    x(value * id_),
                    sequence_id=id_,
                    sequence_start=value == 1,
                    sequence_end=value == 50,
                    request_id=str(id_),
                )
        results = [heard.get(timeout=20) for _ in range(100)]
        client.stop_stream()
    sums = np.cumsum(range(1, 51)).tolist()
    for id_ in (1, 2):
        found = [total(result) for result in results if result.get_response().id == str(id_)]
        assert found == [value * id_ for value in sums]


def test_asyncio_clients_keep_them_too(address: str) -> None:
    async def scenario() -> list[int]:
        async with triton_aio.InferenceServerClient(address) as client:

            async def requests() -> Any:
                for value in (1, 2, 3):
                    yield {
                        "model_name": "totals",
                        "inputs": x(value),
                        "sequence_id": 42,
                        "sequence_start": value == 1,
                        "sequence_end": False,
                    }

            streamed = [total(result) async for result, error in client.stream_infer(requests()) if error is None]
            last = await client.infer("totals", x(4), sequence_id=42, sequence_end=True)
            return [*streamed, total(last)]

    assert asyncio.run(scenario()) == [1, 3, 6, 10]


def test_http_clients_keep_them_too(host: RunningHost) -> None:
    with triton_http.InferenceServerClient(host.address) as client:

        def step(value: int, id_: int | str, **flags: bool) -> int:
            return total(client.infer("totals", x(value, triton_http), sequence_id=id_, **flags))

        assert step(1, 7, sequence_start=True) == 1
        assert step(1, "7", sequence_start=True) == 1
        assert step(2, 7, sequence_end=True) == 3
        with pytest.raises(InferenceServerException) as unknown:
            step(1, 7)
        assert "sequence_start" in str(unknown.value)

    async def scenario() -> list[int]:
        async with triton_http_aio.InferenceServerClient(host.address) as client:
            return [
                total(await client.infer("totals", x(2, triton_http), sequence_id=8, sequence_start=first))
                for first in (True, False)
            ]

    assert asyncio.run(scenario()) == [2, 4]


def test_a_step_that_crashes_costs_its_sequence_and_nothing_else(host: RunningHost, address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        for id_ in (11, 12):
            client.infer("totals", x(1), sequence_id=id_, sequence_start=True)
        with pytest.raises(InferenceServerException) as crashed:
            client.infer("totals", x(-1), sequence_id=11, request_id="the-one")
        assert crashed.value.status() == "StatusCode.INTERNAL"
        assert "SystemExit" in str(crashed.value)
        with pytest.raises(InferenceServerException, match="sequence_start"):
            client.infer("totals", x(1), sequence_id=11)
        assert total(client.infer("totals", x(1), sequence_id=12, sequence_end=True)) == 2
    (line, *_) = [line for line in host.log.read_text().splitlines() if "the-one" in line]
    assert '"model_failed"' in line
    assert r"(most recent call last):\n  File " in line
    assert "raise SystemExit(1)" in line
    assert "inference_host/model/loaded.py" not in line


def test_the_configuration_tells(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        config = client.get_model_config("totals").config
        assert config.HasField("sequence_batching")
        assert config.sequence_batching.max_sequence_idle_microseconds == 60_000_000
        assert config.sequence_batching.oldest.max_candidate_sequences == 1024
        assert {"sequence", "sequence(string_id)"} <= set(client.get_server_metadata().extensions)


def test_the_configuration_tells_over_http(host: RunningHost) -> None:
    with triton_http.InferenceServerClient(host.address) as client:
        config = client.get_model_config("totals")
    assert config["sequence_batching"]["oldest"]["max_candidate_sequences"] == 1024
    assert "dynamic_batching" not in config
