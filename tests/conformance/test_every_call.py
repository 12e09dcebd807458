"""Every call that tritonclient's four clients offer, to a host that a person started and to one at a position.

What all four have in common is here, in one table; what is special to one of them is in test_tritonclient_*.py.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from mesh import clock, tokens
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.conformance.test_process import place

LIBRARIES: dict[str, ModuleType] = {
    "grpc": tritonclient.grpc,
    "grpc.aio": tritonclient.grpc.aio,
    "http": tritonclient.http,
    "http.aio": tritonclient.http.aio,
}
FRONTS = {"grpc": hosts.FRONTS, "grpc.aio": hosts.FRONTS, "http": ("h2",), "http.aio": ("h2",)}
"""What may answer each of them; HTTP has no second front."""
SUITE_S = 600.0
PATIENCE_S = 30.0

ANSWERED = "answered"
REFUSED_WITH = {
    "PERMISSION_DENIED": "403",
    "UNIMPLEMENTED": "501",
    "UNAUTHENTICATED": "401",
    "NOT_FOUND": "404",
}
"""Codes of gRPC, and the statuses of HTTP that say the same."""


@dataclass(frozen=True)
class Call:
    """One method. by_hand, at_position: how it ends there, ANSWERED or a code of gRPC."""

    by_hand: str = ANSWERED
    at_position: str = ANSWERED
    arguments: Mapping[str, Any] = field(default_factory=dict)
    model: bool = False
    """Whether its first argument is a model's name."""


RECONFIGURES = {"by_hand": "UNIMPLEMENTED", "at_position": "PERMISSION_DENIED"}
NO_SHARED_MEMORY = {"by_hand": "UNIMPLEMENTED", "at_position": "UNIMPLEMENTED"}
CALLS = {
    "is_server_live": Call(),
    "is_server_ready": Call(),
    "is_model_ready": Call(model=True),
    "get_server_metadata": Call(),
    "get_model_metadata": Call(model=True),
    "get_model_config": Call(model=True),
    "get_model_repository_index": Call(),
    "get_inference_statistics": Call(model=True),
    "get_trace_settings": Call(model=True),
    "get_log_settings": Call(),
    "update_trace_settings": Call(**RECONFIGURES, arguments={"settings": {"trace_level": ["TIMESTAMPS"]}}),
    "update_log_settings": Call(**RECONFIGURES, arguments={"settings": {"log_verbose_level": 1}}),
    "unload_model": Call(at_position="PERMISSION_DENIED", model=True),
    "load_model": Call(at_position="PERMISSION_DENIED", model=True),  # back again, in this order
    "get_system_shared_memory_status": Call(),
    "get_cuda_shared_memory_status": Call(),
    "register_system_shared_memory": Call(**NO_SHARED_MEMORY, arguments={"name": "a", "key": "/a", "byte_size": 64}),
    "register_cuda_shared_memory": Call(
        **NO_SHARED_MEMORY, arguments={"name": "a", "raw_handle": b"YQ==", "device_id": 0, "byte_size": 64}
    ),
    "unregister_system_shared_memory": Call(),
    "unregister_cuda_shared_memory": Call(),
}
INFERENCE = {"infer", "async_infer", "stream_infer", "start_stream", "async_stream_infer", "stop_stream"}
NO_CALLS = {"close", "plugin", "register_plugin", "unregister_plugin", "generate_request_body", "parse_response_body"}


@dataclass(frozen=True)
class Place:
    """A host, and how it is called."""

    host: RunningHost
    addresses: Mapping[str, str]
    """By front."""
    model: str
    at_position: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def position(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory, key = tmp_path_factory.mktemp("position"), tokens.new_signing_key()
    anywhere = {"listen": "127.0.0.1:0", "grpcio_listen": "127.0.0.1:0"}
    bearer = tokens.mint(
        key, audience="uid-1", subject="agent", client="test", now=clock.now(), lifetime_s=round(SUITE_S)
    )
    with hosts.at_position(directory, **{**place(directory, key), **anywhere}) as host:
        addresses = {"h2": hosts.bound_address(host), "grpcio": _grpcio_address(host)}
        yield Place(host, addresses, "tower-7", True, {"authorization": f"Bearer {bearer}"})


def _grpcio_address(host: RunningHost) -> str:
    (ready,) = [line for line in map(json.loads, host.log.read_text().splitlines()) if line["event"] == "host_ready"]
    address: str = ready["grpcio_listen"]
    return address


@pytest.fixture(params=["by hand", "at a position"])
def somewhere(request: pytest.FixtureRequest, repository: RunningHost, position: Place) -> Place:
    if request.param == "at a position":
        return position
    return Place(repository, {front: repository.grpc(front) for front in hosts.FRONTS}, "spare")


OF_AIOHTTP = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
"""What http.aio's library says of the way in which http.aio uses it."""
CLIENTS = [pytest.param(name, front, id=f"{name}-{front}") for name in LIBRARIES for front in FRONTS[name]]


class Client:
    """One of the four; what it does not say at once is awaited."""

    def __init__(self, name: str, place: Place, front: str, **options: Any) -> None:
        self.library = LIBRARIES[name]
        self.is_http = name.startswith("http")
        self.stock = self.library.InferenceServerClient(place.addresses[front], **options)
        self._headers = place.headers

    async def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        headers = {**self._headers, **named.pop("headers", {})}  # a new one each time: some clients write into it
        found = getattr(self.stock, method)(*arguments, headers=headers or None, **named)
        return await found if inspect.isawaitable(found) else found

    async def infer(self, model: str, array: np.ndarray, datatype: str = "FP32", **named: Any) -> np.ndarray:
        tensor = self.library.InferInput("x", list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        result = await self.ask("infer", model, [tensor], **named)
        found: np.ndarray = result.as_numpy("y")
        return found

    async def close(self) -> None:
        closed = self.stock.close()
        if inspect.isawaitable(closed):
            await closed


def with_client(
    name: str, place: Place, front: str, scenario: Callable[[Client], Awaitable[None]], **options: Any
) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            client = Client(name, place, front, **options)
            try:
                await scenario(client)
            finally:
                await client.close()

    asyncio.run(main())


async def outcome(client: Client, method: str, call: Call, model: str) -> str:
    try:
        answered = await client.ask(method, *([model] if call.model else []), **call.arguments)
    except InferenceServerException as refused:
        return str(refused.status()).removeprefix("StatusCode.") if refused.message() else "refused without a word"
    return "not so" if answered is False else ANSWERED


@pytest.mark.parametrize(("name", "front"), CLIENTS)
@pytest.mark.parametrize("method", CALLS)
def test_every_call_is_answered_or_refused_as_documented(somewhere: Place, name: str, front: str, method: str) -> None:
    call = CALLS[method]
    expected = call.at_position if somewhere.at_position else call.by_hand

    async def scenario(client: Client) -> None:
        wanted = REFUSED_WITH[expected] if client.is_http and expected != ANSWERED else expected
        assert await outcome(client, method, call, somewhere.model) == wanted

    with_client(name, somewhere, front, scenario)


@pytest.mark.parametrize("name", LIBRARIES)
def test_no_call_of_a_client_is_left_out(name: str) -> None:
    methods = inspect.getmembers(LIBRARIES[name].InferenceServerClient, callable)
    assert {method for method, _ in methods if not method.startswith("_")} <= CALLS.keys() | INFERENCE | NO_CALLS


@pytest.mark.parametrize(("name", "front"), CLIENTS)
def test_a_model_answers(somewhere: Place, name: str, front: str) -> None:
    ones = np.ones((2, 4), np.float32)

    async def scenario(client: Client) -> None:
        extras = {"request_id": "42", "priority": 1, "timeout": 20_000_000, "headers": {"x-trace": "a"}}
        assert (await client.infer(somewhere.model, ones, **extras)).tolist() == (2 * ones + 1).tolist()
        for version in ("", "7" if somewhere.at_position else "1"):
            assert (await client.infer(somewhere.model, ones, model_version=version))[0, 0] == 3.0

    with_client(name, somewhere, front, scenario)


@pytest.mark.parametrize(("name", "front"), CLIENTS)
def test_messages_may_be_compressed(somewhere: Place, name: str, front: str) -> None:
    ones = np.ones((1000, 4), np.float32)

    async def scenario(client: Client) -> None:
        for coding in ("gzip", "deflate"):
            named = {"compression_algorithm": coding}
            if client.is_http:
                named = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
            assert (await client.infer(somewhere.model, ones, **named)).tolist() == (2 * ones + 1).tolist()

    with_client(name, somewhere, front, scenario)


@pytest.mark.parametrize(("name", "front"), CLIENTS)
def test_text_and_half_precision_go_both_ways(repository: RunningHost, name: str, front: str) -> None:
    text = np.array([b"tower", "grüße".encode(), b""], dtype=object)
    halves = np.array([[0.5, -2.0]], np.float16)

    async def scenario(client: Client) -> None:
        assert (await client.infer("text", text, "BYTES")).tolist() == text.tolist()
        assert (await client.infer("half", halves, "FP16")).tolist() == halves.tolist()

    with_client(name, _by_hand(repository), front, scenario)


@pytest.mark.parametrize(("name", "front"), CLIENTS)
@pytest.mark.parametrize(("model", "width", "status"), [("nowhere", 4, "NOT_FOUND"), ("affine", 5, "INVALID_ARGUMENT")])
def test_a_mistake_is_an_error_with_words_and_the_client_lives(
    repository: RunningHost, name: str, front: str, model: str, width: int, status: str
) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(InferenceServerException) as refused:
            await client.infer(model, np.ones((1, width), np.float32))
        assert refused.value.message()
        told = {"NOT_FOUND": "404", "INVALID_ARGUMENT": "400"}[status] if client.is_http else f"StatusCode.{status}"
        assert str(refused.value.status()) == told
        assert (await client.infer("affine", np.ones((1, 4), np.float32)))[0, 0] == 3.0

    with_client(name, _by_hand(repository), front, scenario)


@OF_AIOHTTP
@pytest.mark.parametrize(("name", "front"), CLIENTS)
def test_a_client_may_have_little_patience(repository: RunningHost, name: str, front: str) -> None:
    """gRPC has deadlines; over HTTP the client hangs up. Either way it goes on afterwards, or its successor does."""
    options = {"http": {"network_timeout": 0.05}, "http.aio": {"conn_timeout": 0.05}}.get(name, {})
    named = {} if name.startswith("http") else {"client_timeout": 0.05}
    place = _by_hand(repository)

    async def impatient(client: Client) -> None:
        with pytest.raises((InferenceServerException, TimeoutError)):
            await client.infer("slow", np.ones((32, 256, 256), np.float32), **named)

    async def next_one(client: Client) -> None:
        assert (await client.infer("affine", np.ones((1, 4), np.float32)))[0, 0] == 3.0

    with_client(name, place, front, impatient, **options)
    with_client(name, place, front, next_one)


@OF_AIOHTTP
@pytest.mark.parametrize("name", ["grpc.aio", "http.aio"])
def test_calls_that_are_cancelled_disturb_nobody(repository: RunningHost, name: str) -> None:
    async def scenario(client: Client) -> None:
        slow = np.ones((8, 256, 256), np.float32)
        calls = [asyncio.ensure_future(client.infer("slow", slow)) for _ in range(4)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        answers = await asyncio.gather(*(client.infer("affine", np.full((1, 4), n, np.float32)) for n in range(16)))
        assert [answer[0, 0] for answer in answers] == [2.0 * n + 1 for n in range(16)]

    with_client(name, _by_hand(repository), "h2", scenario)


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_the_asyncio_client_streams(somewhere: Place, front: str) -> None:
    async def scenario(client: Client) -> None:
        answers = client.stock.stream_infer(_asks(somewhere.model, [1.0, -1.0, 3.0]), headers=dict(somewhere.headers))
        found = [(result and result.as_numpy("y")[0, 0], error) async for result, error in answers]
        assert [value for value, _ in found] == [3.0, None, 7.0]
        assert "[1, 5]" in found[1][1].message()  # what was wrong with the second, and the stream went on

    with_client("grpc.aio", somewhere, front, scenario)


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_a_stream_of_the_asyncio_client_may_be_cancelled(somewhere: Place, front: str) -> None:
    async def scenario(client: Client) -> None:
        answers = client.stock.stream_infer(_asks(somewhere.model, [1.0] * 10_000), headers=dict(somewhere.headers))
        await anext(aiter(answers))
        assert answers.cancel()
        with pytest.raises(asyncio.CancelledError):
            async for _ in answers:
                pass
        assert (await client.infer(somewhere.model, np.ones((1, 4), np.float32)))[0, 0] == 3.0

    with_client("grpc.aio", somewhere, front, scenario)


async def _asks(model: str, values: list[float]) -> Any:
    """What `stream_infer` takes; a value below 0 stands for a request of the wrong shape."""
    for value in values:
        array = np.full((1, 4 if value > 0 else 5), value, np.float32)
        tensor = tritonclient.grpc.InferInput("x", list(array.shape), "FP32")
        tensor.set_data_from_numpy(array)
        yield {"model_name": model, "inputs": [tensor]}


@pytest.mark.parametrize(("name", "front"), CLIENTS)
def test_credentials_may_come_from_a_plugin(position: Place, name: str, front: str) -> None:
    class Bearer(tritonclient.grpc.InferenceServerClientPlugin):
        def __call__(self, request: Any) -> None:
            request.headers.update(position.headers)

    async def scenario(client: Client) -> None:
        client.stock.register_plugin(Bearer())
        assert await outcome(client, "get_server_metadata", Call(), "") == ANSWERED
        client.stock.unregister_plugin()
        refused = await outcome(client, "get_server_metadata", Call(), "")
        assert refused in ("UNAUTHENTICATED", REFUSED_WITH["UNAUTHENTICATED"])

    with_client(name, Place(position.host, position.addresses, position.model), front, scenario)


def _by_hand(repository: RunningHost) -> Place:
    return Place(repository, {front: repository.grpc(front) for front in hosts.FRONTS}, "affine")
