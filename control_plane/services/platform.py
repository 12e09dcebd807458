# ruff: noqa: N802  methods are named by the proto
"""control.v1.PlatformService: the control plane itself."""

from typing import Any

from control_plane.access import caller
from control_plane.services.kit import Kit
from waypost.api.control.v1 import platform_pb2 as pb
from waypost.api.control.v1 import platform_pb2_grpc as rpc


class PlatformService(rpc.PlatformServiceServicer):
    """version: of this software. link_address: `host:port` that agents dial."""

    def __init__(self, kit: Kit, *, version: str, link_address: str) -> None:
        self._kit = kit
        self._version = version
        self._link_address = link_address
        self._start_time = kit.timestamp()

    async def GetPlatform(self, request: pb.GetPlatformRequest, context: Any) -> pb.GetPlatformResponse:
        return pb.GetPlatformResponse(
            version=self._version,
            incarnation=self._kit.stores.records.incarnation,
            revision=await self._kit.stores.records.revision(),
            start_time=self._start_time,
            link_address=self._link_address,
            caller=caller().credential or caller().name,
        )
