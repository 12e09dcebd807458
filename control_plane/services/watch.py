# ruff: noqa: N802  methods are named by the proto
"""control.v1.WatchService: everything that changes, as it changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from control_plane.domain.check import refuse
from control_plane.services.kit import Kit
from control_plane.services.watch_view import View
from waypost.api.control.v1 import watch_pb2 as pb
from waypost.api.control.v1 import watch_pb2_grpc as rpc

PACE_S = 0.02  # between two looks at most: a storm of commits costs a watcher fifty looks a second, and no more
NAMES_MAX = 100


class WatchService(rpc.WatchServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        view = View(self._kit, _names(request))
        async for response in view.snapshot():
            yield response
        yield pb.WatchResponse(revision=view.revision, snapshot_end=pb.SnapshotEnd())
        while True:
            await self._kit.stores.news(view.revision, view.sequence)
            async for response in view.changes():
                yield response
            await asyncio.sleep(PACE_S)


def _names(request: pb.WatchRequest) -> tuple[str, ...]:
    if len(request.names) > NAMES_MAX:
        refuse("names", f"has {len(request.names)} entries", f"at most {NAMES_MAX}; watch what owns them instead")
    for name in request.names:
        if not name.startswith(("projects", "edgeServers", "subscriptions")) or name.endswith("/"):
            refuse("names", f"has {name!r}", "write full names: projects/uav, edgeServers, ...; no slash at the end")
    return tuple(request.names)
