"""KServe's own clients, unmodified: `python client.py ADDRESS MODEL [TOKEN]`; tests/clients runs it.

Says `ok NAME` for everything that works. MODEL answers twice its input and one; without a token there are `text`,
`half`, which say back what they hear, and `slow`.
"""

import asyncio
import sys
import traceback
from collections.abc import Awaitable
from typing import TypeVar

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

Error = TypeVar("Error", bound=Exception)
ONES = np.ones((2, 4), np.float32)
PATIENCE_S = 30.0


class Calls:
    def __init__(self, address: str, model: str, token: str) -> None:
        self.base = f"http://{address}"
        self.model = model
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self.metadata = tuple(self._headers.items())
        self.rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=PATIENCE_S))
        self.grpc = InferenceGRPCClient(address, timeout=PATIENCE_S)

    @property
    def headers(self) -> dict[str, str]:
        """New ones for each call: the client writes into them."""
        return dict(self._headers)

    async def close(self) -> None:
        await self.rest.close()
        await self.grpc.close()

    async def rest_health(self) -> None:
        assert await self.rest.is_server_live(self.base, headers=self.headers)
        assert await self.rest.is_server_ready(self.base, headers=self.headers)
        assert await self.rest.is_model_ready(self.base, self.model, headers=self.headers)

    async def rest_json(self) -> None:
        found = await self._over_rest(_request(self.model, ONES, binary=False))
        assert found.tolist() == (2 * ONES + 1).tolist()

    async def rest_binary(self) -> None:
        wanted = [RequestedOutput("y", parameters={"binary_data": True})]
        found = await self._over_rest(_request(self.model, ONES, binary=True, wanted=wanted))
        assert found.tolist() == (2 * ONES + 1).tolist()

    async def rest_plain_dict(self) -> None:
        data = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        answer = await self.rest.infer(self.base, data, model_name=self.model, headers=self.headers)
        outputs = answer["outputs"] if isinstance(answer, dict) else answer.to_dict()["outputs"]
        assert outputs[0]["data"] == [3, 5, 7, 9]

    async def rest_headers(self) -> None:
        """Who answered."""
        told: dict[str, str] = {}
        request = _request(self.model, ONES, binary=False)
        await self.rest.infer(self.base, request, self.model, headers=self.headers, response_headers=told)
        assert told["waypost-model-version"]

    async def rest_error(self) -> None:
        error = await _error(self._over_rest(_request("nowhere", ONES, binary=False)), httpx.HTTPStatusError)
        assert error.response.status_code == 404
        assert "nowhere" in str(error)

    async def rest_concurrent(self) -> None:
        requests = [_request(self.model, np.full((1, 4), number, np.float32), binary=True) for number in range(32)]
        found = await asyncio.gather(*map(self._over_rest, requests))
        assert [each[0, 0] for each in found] == [2.0 * number + 1 for number in range(32)]

    async def grpc_health(self) -> None:
        assert await self.grpc.is_server_live(headers=self.metadata)
        assert await self.grpc.is_server_ready(headers=self.metadata)
        assert await self.grpc.is_model_ready(self.model, headers=self.metadata)

    async def grpc_raw(self) -> None:
        found = await self._over_grpc(_request(self.model, ONES, binary=True))
        assert found.tolist() == (2 * ONES + 1).tolist()

    async def grpc_typed(self) -> None:
        found = await self._over_grpc(_request(self.model, ONES, binary=False))
        assert found.tolist() == (2 * ONES + 1).tolist()

    async def grpc_error(self) -> None:
        error = await _error(self._over_grpc(_request("nowhere", ONES, binary=True)), grpc.RpcError)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "nowhere" in error.details()

    async def grpc_concurrent(self) -> None:
        requests = [_request(self.model, np.full((1, 4), number, np.float32), binary=True) for number in range(32)]
        found = await asyncio.gather(*map(self._over_grpc, requests))
        assert [each[0, 0] for each in found] == [2.0 * number + 1 for number in range(32)]

    async def text(self) -> None:
        """Only by hand: a position has one model."""
        values = np.array([b"tower", "grüße".encode(), b""], dtype=object)
        for ask in (self._over_rest, self._over_grpc):
            for binary in (False, True):
                found = await ask(_request("text", values, "BYTES", binary=binary))
                assert [v.encode() if isinstance(v, str) else v for v in found.tolist()] == values.tolist()

    async def halves(self) -> None:
        """Only by hand. In JSON they have no form, so the answer is asked for as binary too."""
        values = np.array([[0.5, -2.0]], np.float16)
        wanted = [RequestedOutput("y", parameters={"binary_data": True})]
        for ask in (self._over_rest, self._over_grpc):
            found = await ask(_request("half", values, "FP16", binary=True, wanted=wanted))
            assert found.tolist() == values.tolist()

    async def deadline(self) -> None:
        """Only by hand. UNAVAILABLE where the host knows on arrival that it would be late, and has not tried."""
        request = _request("slow", np.ones((8, 256, 256), np.float32), binary=True)
        error = await _error(self.grpc.infer(request, timeout=0.01, headers=self.metadata), grpc.RpcError)
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

    async def _over_rest(self, request: InferRequest) -> np.ndarray:
        answer = await self.rest.infer(self.base, request, model_name=request.model_name, headers=self.headers)
        return answer.outputs[0].as_numpy()

    async def _over_grpc(self, request: InferRequest) -> np.ndarray:
        answer = await self.grpc.infer(request, headers=self.metadata)
        return answer.outputs[0].as_numpy()


async def _error(call: Awaitable[object], kind: type[Error]) -> Error:
    """What it fails with."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError("it was answered")


def _request(
    model: str, array: np.ndarray, datatype: str = "FP32", *, binary: bool, wanted: list[RequestedOutput] | None = None
) -> InferRequest:
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model, [tensor], request_id="42", request_outputs=wanted)


AT_ANY = [name for name in vars(Calls) if name.startswith(("rest_", "grpc_"))]
BY_HAND = ["text", "halves", "deadline"]


async def main(address: str, model: str, token: str = "") -> None:
    calls = Calls(address, model, token)
    for name in [*AT_ANY, *([] if token else BY_HAND)]:
        try:
            await getattr(calls, name)()
        except Exception:  # what does not work is told, and the rest is tried
            sys.stdout.write(f"failed {name}\n{traceback.format_exc()}")
        else:
            sys.stdout.write(f"ok {name}\n")
    await calls.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
