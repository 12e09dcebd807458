# ruff: noqa: N802  methods are named by the proto
"""What is asked of a running position: figures, logs, one inference, forgetting a refusal. Asked through the fleet."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError

from control_plane import events
from control_plane.domain.check import full_name, refuse
from control_plane.fleet.port import Fleet, held
from control_plane.services.kit import Kit
from control_plane.services.statuses import with_position_status
from control_plane.store.observed_rows import read_edge_servers
from control_plane.store.resources import POSITION
from mesh.times import duration
from waypost import names
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1 import position_pb2_grpc as rpc
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.api.link.v1.command_pb2 import ClearRejected, Command, ReadLogs, Result, TryInference
from waypost.errors import Internal, Precondition, Unavailable

TAIL_LINES_MAX = 10_000
TAIL_LINES_DEFAULT = 100
AGAIN_AFTER_S = 0.3  # agents come back within moments
COMMAND_TTL_S = 10.0  # to begin, not to end; a person waits, and would rather ask again than wait longer


class LivePositions(rpc.PositionServiceServicer):
    def __init__(self, kit: Kit, fleet: Fleet) -> None:
        self._kit = kit
        self._fleet = fleet

    async def WatchPositionMetrics(
        self, request: pb.WatchPositionMetricsRequest, context: Any
    ) -> AsyncIterator[pb.WatchPositionMetricsResponse]:
        position = await self.position(request.name)
        async with held(self._fleet.metrics(position.name, position.status.edge_server)) as figures:
            async for metrics in figures:
                yield pb.WatchPositionMetricsResponse(metrics=metrics)

    async def ReadPositionLogs(
        self, request: pb.ReadPositionLogsRequest, context: Any
    ) -> AsyncIterator[pb.ReadPositionLogsResponse]:
        if not 0 <= request.tail_lines <= TAIL_LINES_MAX:
            refuse(
                "tail_lines", f"must be 1..{TAIL_LINES_MAX}, or 0 for {TAIL_LINES_DEFAULT}; got {request.tail_lines}"
            )
        position = await self.position(request.name)
        command = Command(
            read_logs=ReadLogs(position=position.name, tail_lines=request.tail_lines or TAIL_LINES_DEFAULT)
        )
        async with held(self._ask(position, command)) as results:
            async for result in results:
                if result.HasField("log"):
                    yield pb.ReadPositionLogsResponse(source=result.log.source, text=result.log.text)

    async def TryPosition(self, request: pb.TryPositionRequest, context: Any) -> pb.TryPositionResponse:
        position = await self.position(request.name)
        try:
            ModelInferRequest.FromString(request.request)
        except DecodeError:
            refuse("request", "is not a serialized waypost.api.inference.v1.ModelInferRequest")
        command = Command(try_inference=TryInference(position=position.name, request=request.request))
        async with held(self._ask(position, command)) as results:
            async for result in results:
                if result.HasField("inference"):
                    answer = result.inference
                    return pb.TryPositionResponse(response=answer.response, latency_ms=answer.latency_ms)
        raise Internal("NO_ANSWER", f"the agent of {position.status.edge_server} ended its answer without a result")

    async def ClearRejection(self, request: pb.ClearRejectionRequest, context: Any) -> pb.ClearRejectionResponse:
        position = await self.position(request.name)
        version = full_name(request.model_version, "versions", "model_version")
        digest = _rejected_digest(position, version)
        await self._order(position, Command(clear_rejected=ClearRejected(position=position.name, digest=digest)))
        await self._kit.recorder.record(
            position.name, events.REJECTION_CLEARED, f"{names.short(version)} may be tried again"
        )
        return pb.ClearRejectionResponse(position=await self.position(request.name))

    async def position(self, name: str) -> pb.Position:
        """With its status. Raises: Invalid, NotFound."""
        found = await self._kit.resources.get(POSITION, full_name(name, "positions", "name"))
        return await self._shown(found.message)

    async def _shown(self, position: pb.Position) -> pb.Position:
        return (await with_position_status(self._kit, [position]))[0]

    async def _order(self, position: pb.Position, command: Command) -> None:
        """Has something changed. Where the link breaks meanwhile it is asked again: by its id it is done once."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + COMMAND_TTL_S
        command.id = self._kit.ids.uuid()
        while True:
            try:
                async with held(self._ask(position, command)) as results:
                    async for _ in results:
                        pass
                return
            except Unavailable:
                if loop.time() >= until_s or not await self._is_coming_back(position):
                    raise
                await asyncio.sleep(AGAIN_AFTER_S)

    async def _is_coming_back(self, position: pb.Position) -> bool:
        """Whether its agent was there a moment ago: within its lease."""
        statuses = await read_edge_servers(self._kit.stores.observed, [position.status.edge_server])
        status = statuses.get(position.status.edge_server)
        return status is not None and status.state == EDGE_SERVER_STATE_CONNECTED

    async def _ask(self, position: pb.Position, command: Command) -> AsyncIterator[Result]:
        command.id = command.id or self._kit.ids.uuid()
        command.time_to_live.CopyFrom(duration(COMMAND_TTL_S))
        async with held(self._fleet.command(position.status.edge_server, command)) as results:
            async for result in results:
                yield result


def _rejected_digest(position: pb.Position, version: str) -> str:
    for rejection in position.status.rejected:
        if rejection.model_version == version:
            return rejection.digest
    raise Precondition(
        "VERSION_NOT_REJECTED",
        f"position {names.short(position.name)!r} has not refused {names.short(version)!r}",
        "see status.rejected of the position",
        name=position.name,
    )
