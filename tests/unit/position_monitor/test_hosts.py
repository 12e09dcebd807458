"""A monitor's hosts: how many it takes, and that each counts for itself."""

import asyncio

import grpc.aio
import pytest

from position_monitor import hosts
from position_monitor.board import Board
from position_monitor.hosts import HostService
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics
from waypost.api.link.v1.monitor_link_pb2 import PositionOrders
from waypost.errors import Exhausted

POSITION = "projects/uav/applications/path/positions/tower-7"


class Call:
    """A host's stream on a Unix socket, as far as the monitor looks at its context."""

    def __init__(self, replica: str, *samples: HostMetrics) -> None:
        self.welcomed = asyncio.Event()
        self._said: asyncio.Queue[object] = asyncio.Queue()
        hello = pb.Hello(identity=replica, boot_id=replica, protocol_min=1, protocol_max=1)
        self._said.put_nowait(pb.ChildMessage(hello=hello))
        for sample in samples:
            metrics = pb.Metrics(samples=[sample.SerializeToString()])
            self._said.put_nowait(pb.ChildMessage(metrics=metrics))

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    async def read(self) -> object:
        return await self._said.get()

    async def write(self, message: pb.ParentMessage) -> None:
        if message.HasField("welcome"):
            self.welcomed.set()

    def hang_up(self) -> None:
        self._said.put_nowait(grpc.aio.EOF)


def service(board: Board) -> HostService:
    board.post(PositionOrders(position=POSITION))
    return HostService(board, incarnation="i")


def test_a_host_counts_for_nobody_else() -> None:
    async def scenario() -> None:
        board = Board(POSITION, "u", "{}")
        call = Call("r-aaaaaa", HostMetrics(replica="r-bbbbbb", requests=5, window_ms=1000))
        call.hang_up()
        await service(board).ConnectHost(None, call)
        assert list(board.take().replicas) == ["r-aaaaaa"]

    asyncio.run(scenario())


def test_hosts_are_bounded_and_those_that_are_there_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "HOSTS_MAX", 1)

    async def scenario() -> None:
        monitor = service(Board(POSITION, "u", "{}"))
        first, again, other = Call("r-aaaaaa"), Call("r-aaaaaa"), Call("r-bbbbbb")
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(monitor.ConnectHost(None, first))
            await first.welcomed.wait()
            with pytest.raises(Exhausted) as refused:
                await monitor.ConnectHost(None, Call("r-cccccc"))
            assert refused.value.reason == "TOO_MANY_HOSTS"
            second = tasks.create_task(monitor.ConnectHost(None, again))
            await again.welcomed.wait()
            again.hang_up()
            await second
            third = tasks.create_task(monitor.ConnectHost(None, other))
            await other.welcomed.wait()
            other.hang_up()
            await third

    asyncio.run(scenario())
