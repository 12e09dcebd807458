"""Tiny hosts and monitors for the gateway suite, and a caller.

A host answers every call with what it saw: who it is, the path, the headers. What a call carries as JSON tells it to
wait, or to fail. It runs inside the test, or as a process of its own that can be killed:

    python tests/contract/gateway_backends.py ID DIRECTORY
"""

import asyncio
import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from waypost.api.xapp.v1 import access_pb2, inference_pb2
from waypost.errors import Precondition
from waypost.rpc.status import DETAILS_KEY, grpc_code, to_status

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MESSAGE_BYTES_MAX = 128 << 20  # above the gateway's limit, so that it is the gateway that refuses
NO_REUSE = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", MESSAGE_BYTES_MAX)]

REFUSAL = Precondition("MODEL_BUSY", "the model is busy", "wait")
"""What a host answers to {"refuse": true}, with details."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `code` is the gRPC code's name or the HTTP status."""

    code: str | int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    details: bytes = b""
    """google.rpc.Status of a gRPC error."""

    @property
    def host(self) -> str:
        return str(self.body["host"])


class Host:
    """Both faces of an inference host; and a monitor's, which is to say AccessService, on the gRPC socket."""

    def __init__(self, id_: str, directory: Path) -> None:
        self.id = id_
        self.grpc_path = directory / f"{id_}.grpc"
        self.http_path = directory / f"{id_}.http"
        self.calls: Counter[str] = Counter()
        self.under_way = 0
        self._server: grpc.aio.Server | None = None
        self._http: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self) -> "Host":
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        checks = health.aio.HealthServicer()
        await checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        self._server.add_insecure_port(f"unix:{self.grpc_path}")
        await self._server.start()
        self.http_path.unlink(missing_ok=True)
        self._http = await asyncio.start_unix_server(self._converse, self.http_path, limit=1 << 20)
        return self

    async def stop(self) -> None:
        assert self._server
        assert self._http
        self._http.close()
        for writer in list(self._connections):
            writer.close()
        await self._http.wait_closed()
        await self._server.stop(0)

    async def _answer(self, face: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        self.calls[face] += 1
        self.under_way += 1
        try:
            wish = json.loads(body) if body.startswith(b"{") else {}
            await asyncio.sleep(wish.get("wait_s", 0))
            return {"host": self.id, "path": path, "headers": headers, "bytes": len(body), "wish": wish}
        finally:
            self.under_way -= 1

    # -- gRPC

    def _handlers(self) -> Iterable[grpc.GenericRpcHandler]:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        oip = {"ModelInfer": unary(self._infer), "ModelStreamInfer": stream(self._stream)}
        yield grpc.method_handlers_generic_handler("inference.GRPCInferenceService", oip)
        messages = (inference_pb2.InferRequest.FromString, inference_pb2.InferResponse.SerializeToString)
        infer = {"Infer": unary(self._xapp_infer, *messages)}
        yield grpc.method_handlers_generic_handler("waypost.api.xapp.v1.InferenceService", infer)
        messages = (access_pb2.RegisterRequest.FromString, access_pb2.RegisterResponse.SerializeToString)
        endpoints = (access_pb2.ResolveRequest.FromString, access_pb2.ResolveResponse.SerializeToString)
        access = {"Register": unary(self._register, *messages), "Resolve": unary(self._resolve, *endpoints)}
        yield grpc.method_handlers_generic_handler("waypost.api.xapp.v1.AccessService", access)

    async def _infer(self, request: bytes, context: Any) -> bytes:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        answer = await self._answer("grpc", INFER, headers, request)
        if answer["wish"].get("refuse"):
            await _refuse(context)
        return json.dumps(answer).encode()

    async def _stream(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self.id.encode() + b":" + request

    async def _xapp_infer(self, request: Any, context: Any) -> Any:
        if request.id == "refuse":
            await _refuse(context)
        if request.id == "wait":
            await asyncio.sleep(5)
        self.calls["json"] += 1
        return inference_pb2.InferResponse(id=request.id, model_version=self.id, digest=request.position)

    async def _register(self, request: Any, _: Any) -> Any:
        return access_pb2.RegisterResponse(access_token=self.id, position_uid=request.position, model=request.client)

    async def _resolve(self, request: Any, _: Any) -> Any:
        return access_pb2.ResolveResponse(endpoints=access_pb2.EndpointSet(position=request.position, model=self.id))

    # -- HTTP/1.1

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {key.lower(): value for key, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = head[0].split()[1]
                face = "check" if path == "/v2/health/ready" else "http"
                answer = json.dumps(await self._answer(face, path, headers, body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
                await writer.drain()
        self._connections.discard(writer)
        writer.close()


async def _refuse(context: Any) -> None:
    status = to_status(REFUSAL)
    await context.abort(grpc_code(REFUSAL.code), status.message, ((DETAILS_KEY, status.SerializeToString()),))


class HostProcess:
    """A host that can be killed."""

    def __init__(self, id_: str, directory: Path) -> None:
        self.id = id_
        self.grpc_path = directory / f"{id_}.grpc"
        self.http_path = directory / f"{id_}.http"
        command = [sys.executable, __file__, id_, str(directory)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    async def ready(self) -> "HostProcess":
        assert self._process.stdout
        await asyncio.to_thread(self._process.stdout.readline)
        return self

    def freeze(self) -> None:
        """It neither answers nor ends."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Caller:
    """Calls a gateway: gRPC and HTTP, with the same wishes and the same kind of answer."""

    def __init__(self, address: str, authority: str = "") -> None:
        self.target = address.removeprefix("http://")
        self._authority = authority
        options = [*NO_REUSE, *([("grpc.default_authority", authority)] if authority else [])]
        self.channel = grpc.aio.insecure_channel(self.target, options=options)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def grpc(
        self,
        wish: dict[str, Any] | bytes = b"",
        *,
        position: str = "",
        method: str = INFER,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float | None = 20,
    ) -> Answer:
        body = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
        where = (("waypost-position", position),) if position else ()
        call = self.channel.unary_unary(method)(body, metadata=(*where, *metadata), timeout=timeout)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            details = dict(tuple(error.trailing_metadata() or ())).get(DETAILS_KEY, b"")
            return Answer(error.code().name, error.details(), details=details)
        return Answer("OK", json.loads(answer) if answer.startswith(b"{") else answer)

    async def http(
        self,
        path: str = "/v2/models/m/infer",
        wish: dict[str, Any] | bytes | Iterable[bytes] = b"",
        *,
        method: str = "POST",
        position: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        body = json.dumps(wish).encode() if isinstance(wish, dict) else wish
        sent = dict(headers or {})
        if position:
            sent["waypost-position"] = position
        if self._authority:
            sent["host"] = self._authority
        return await asyncio.to_thread(_http, self.target, method, path, body, sent)


def _http(target: str, method: str, path: str, body: bytes | Iterable[bytes], headers: dict[str, str]) -> Answer:
    connection = http.client.HTTPConnection(target, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        received = {key.lower(): value for key, value in response.getheaders()}
        text = response.read()
        return Answer(response.status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode(), received)
    finally:
        connection.close()


async def _main(id_: str, directory: str) -> None:
    host = await Host(id_, Path(directory)).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()
    await host.stop()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
