# ruff: noqa: N802  methods are named by the proto
"""control.v1.PlatformService: the control plane itself."""

from collections.abc import Mapping
from typing import Any

from control_plane.access import caller
from control_plane.conditions import condition
from control_plane.services.kit import Kit
from control_plane.store import observed_rows as rows
from waypost import names
from waypost.api.control.v1 import platform_pb2 as pb
from waypost.api.control.v1 import platform_pb2_grpc as rpc
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus


class PlatformService(rpc.PlatformServiceServicer):
    """version: of this software. link_address: `host:port` that agents dial."""

    def __init__(self, kit: Kit, *, version: str, link_address: str) -> None:
        self._kit = kit
        self._version = version
        self._link_address = link_address
        self._start_time = kit.timestamp()

    async def GetPlatform(self, request: pb.GetPlatformRequest, context: Any) -> pb.GetPlatformResponse:
        response = pb.GetPlatformResponse(
            version=self._version,
            incarnation=self._kit.stores.records.incarnation,
            revision=await self._kit.stores.records.revision(),
            start_time=self._start_time,
            link_address=self._link_address,
            caller=caller().credential or caller().name,
        )
        if origin := self._kit.stores.restored_from:
            response.restored_incarnation, response.restored_revision = origin.incarnation, origin.revision
            response.restore_time.FromSeconds(origin.time_unix_s)
            response.conditions.append(settled(await self._edge_servers(), since=origin.time_unix_s))
        return response

    async def _edge_servers(self) -> dict[str, EdgeServerStatus]:
        found = await self._kit.stores.observed.scan(rows.EDGE_SERVER)
        return {row.name: EdgeServerStatus.FromString(row.body) for row in found}


def settled(edge_servers: Mapping[str, EdgeServerStatus], *, since: float) -> Condition:
    """Whether all edge servers follow a restored store; since: when it was restored."""
    keeping = [name for name, status in edge_servers.items() if _keeps(status)]
    if not keeping:
        return condition("RestoreSettled", True, now=since)
    others = f" and {len(keeping) - 1} others" if len(keeping) > 1 else ""
    return condition(
        "RestoreSettled",
        False,
        now=since,
        reason="EDGE_IS_AHEAD",
        message=f"{names.leaf(keeping[0])}{others} keep what this restored store would take away or set back",
        hint=f"see `waypost edge-server get {names.leaf(keeping[0])}`; if that is meant: `waypost edge-server confirm`",
    )


def _keeps(status: EdgeServerStatus) -> bool:
    return any(judged.reason in ("PRUNE_REFUSED", "SET_BACK_REFUSED") for judged in status.conditions)
