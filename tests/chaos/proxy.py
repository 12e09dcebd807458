"""A TCP proxy on loopback whose network can be made bad while connections are open."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from tests.chaos.cells import Link

PIECE_BYTES = 16 << 10
SLOW_DELAY_S, SLOW_BYTES_PER_S = 0.2, 32 << 10
RESET_EVERY_S = 0.7


class Proxy:
    """From `address` to `target` (host:port), on an event loop of its own. `with` it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._link = Link.ONLINE
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.address = self._run(self._listen()).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, link: Link) -> None:
        """From now on the network is so, for connections that are open too."""
        self._run(self._set(link)).result()

    def _run(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _listen(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._resetting = asyncio.create_task(self._reset_for_ever())
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _close(self) -> None:
        self._server.close()
        self._resetting.cancel()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _set(self, link: Link) -> None:
        self._link = link
        self._changed.set()
        self._changed = asyncio.Event()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _reset_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RESET_EVERY_S)
            if self._link is Link.RESET:
                self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            their_reader, their_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, their_writer}
        self._open |= both
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, their_writer, up=True))
                tasks.create_task(self._pump(their_reader, writer, up=False))
        except* (OSError, asyncio.CancelledError):  # this connection is over; nobody waits for its task
            pass
        finally:
            for each in both:
                each.transport.abort()
            self._open -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """up: from the edge server. An end of one direction ends both: gRPC knows no half-open connections."""
        while piece := await reader.read(PIECE_BYTES):
            while self._is_silent(up=up):
                await self._changed.wait()
            if self._link is Link.SLOW:
                await asyncio.sleep(SLOW_DELAY_S + len(piece) / SLOW_BYTES_PER_S)
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError

    def _is_silent(self, *, up: bool) -> bool:
        return self._link is Link.OFFLINE or (self._link is Link.DEAF and not up)
