"""Our server with methods that say back what they hear, as a process: `python -m tests.wire.echo_host ADDRESS`.

    --tls DIR           as the host's setting
    --frame-bytes N     SETTINGS_MAX_FRAME_SIZE

Unary methods of /waypost.test.Echo: Unary says its message back and its metadata `echo` as a trailer; Never does not
answer; Withdrawn says how many calls of Never were given up; Fail fails. Streaming ones: Stream says each message back;
Count asks for `N SIZE` and sends N messages of SIZE bytes. Over HTTP/1.1 every body comes back.

The address is printed when it listens. It drains at SIGTERM.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from inference_host.transport import connections, h2, http1
from inference_host.transport.auth import Gate
from inference_host.transport.connections import Connections
from inference_host.transport.h2_heads import Reader
from inference_host.transport.http1_core import Answer, Request, Response
from inference_host.transport.methods import Caller, Method, Reply, Streaming, Unary
from inference_host.transport.server import PROTOCOLS, Server
from inference_host.values.calls import Withdraw
from mesh.identity import server_context
from waypost.errors import Precondition
from waypost.rpc import MESSAGE_BYTES_MAX

SERVICE = "/waypost.test.Echo"
GRACE_S = 10.0


class Echo:
    def __init__(self) -> None:
        self._withdrawn = 0

    def methods(self) -> list[Method]:
        unary = {"Unary": self._unary, "Never": self._never, "Withdrawn": self._count_withdrawn, "Fail": self._fail}
        streaming = {"Stream": self._stream, "Count": self._count}
        return [
            *(Method(f"{SERVICE}/{name}", Unary(begin), quiet=True) for name, begin in unary.items()),
            *(Method(f"{SERVICE}/{name}", Streaming(run), quiet=True) for name, run in streaming.items()),
        ]

    def http(self, request: Request, answer: Answer) -> None:
        answer(Response(200, [request.body], content_type="application/octet-stream"))

    def _unary(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        said = caller.metadata.get("echo")
        reply.send([body], [] if said is None else [("echo", said)])

    def _never(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> Withdraw:
        return self._withdraw

    def _withdraw(self) -> None:
        self._withdrawn += 1

    def _count_withdrawn(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        reply.send([b"%d" % self._withdrawn])

    def _fail(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        raise Precondition("NOT_NOW", "100 % refused: café", "wait")

    async def _stream(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def _count(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        count, size = map(int, (await anext(aiter(requests))).split())
        for _ in range(count):
            yield bytes(size)


async def main(address: str, tls: Path | None, frame_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    echo = Echo()
    async with asyncio.TaskGroup() as tasks:
        here = Connections(connections.Limits(), loop.time)
        limits = replace(h2.LIMITS, frame_bytes=frame_bytes)
        over_http2 = h2.Service(Reader(echo.methods(), log_all=False), Gate(None, "", loop.time), here, tasks, limits)
        over_http1 = http1.Service(echo.http, _refuse, http1.Limits(MESSAGE_BYTES_MAX), here)
        server = Server(
            here,
            http2=lambda full: h2.Connection(over_http2, full=full),
            http1=lambda full: http1.Connection(over_http1, full=full),
            tasks=tasks,
        )
        context = None if tls is None else server_context(tls, PROTOCOLS)
        sys.stdout.write(f"{await server.listen(address, context)}\n")
        sys.stdout.flush()
        await stop.wait()
        await server.drain(GRACE_S)


def _refuse(status: int, message: str) -> Response:
    return Response(status, [message.encode()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--tls", type=Path)
    parser.add_argument("--frame-bytes", type=int, default=h2.LIMITS.frame_bytes)
    given = parser.parse_args()
    asyncio.run(main(given.address, given.tls, given.frame_bytes))
