# ruff: noqa: N802  methods are named by the proto
"""control.v1.PositionService: what should be at each place, and what is.

Writing a spec writes a record and nothing else: the planner hears of it from the store. What is asked of a running
position goes through the fleet (`position_live.py`).
"""

from typing import Any

from control_plane import events
from control_plane.access import caller
from control_plane.domain.assignments import version_of
from control_plane.domain.check import check_id, check_replicas, full_name
from control_plane.domain.placement import deployable
from control_plane.domain.status import explain
from control_plane.services.families import POSITIONS
from control_plane.services.kit import check_etag, retried
from control_plane.services.listing import list_page, listing
from control_plane.services.position_live import LivePositions
from control_plane.services.quotas import quota_guards
from control_plane.services.statuses import servers_of, with_position_status
from control_plane.services.writing import NO_GUARDS, Guards, create, update
from control_plane.store.resources import APPLICATION, EDGE_SERVER, MODEL_VERSION, POSITION
from waypost import names
from waypost.api.control.v1 import position_pb2 as pb
from waypost.errors import Precondition


class PositionService(LivePositions):
    async def GetPosition(self, request: pb.GetPositionRequest, context: Any) -> pb.GetPositionResponse:
        return pb.GetPositionResponse(position=await self.position(request.name))

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        wanted = listing(request.parent, "applications", "positions")
        found, token = await list_page(self._kit, POSITION, wanted, request, parent_kind=APPLICATION)
        shown = await with_position_status(self._kit, found)
        return pb.ListPositionsResponse(positions=shown, next_page_token=token)

    async def CreatePosition(self, request: pb.CreatePositionRequest, context: Any) -> pb.CreatePositionResponse:
        parent = full_name(request.parent, "applications", "parent")
        check_id(request.position_id, "positions", "position_id")
        name = f"{parent}/positions/{request.position_id}"
        created = await self._create(request.position, name, validate_only=request.validate_only)
        return pb.CreatePositionResponse(position=created)

    async def UpdatePosition(self, request: pb.UpdatePositionRequest, context: Any) -> pb.UpdatePositionResponse:
        name = full_name(request.position.name, "positions", "position.name")
        if request.allow_missing and await self._kit.resources.find(POSITION, name) is None:
            changed = await self._create(request.position, name, validate_only=request.validate_only)
        else:
            changed = await self._update(request)
        return pb.UpdatePositionResponse(position=changed)

    async def DeletePosition(self, request: pb.DeletePositionRequest, context: Any) -> pb.DeletePositionResponse:
        """Marks it; the planner takes it from its edge server and then removes the record."""
        name = full_name(request.name, "positions", "name")

        async def attempt() -> pb.Position | None:
            found = await self._kit.resources.get(POSITION, name)
            check_etag(request.etag, found.message.etag, name)
            if found.message.HasField("delete_time"):
                return None
            found.message.delete_time.CopyFrom(self._kit.timestamp())
            put = POSITION.encode(name, found.message)
            await self._kit.stores.records.commit([put], expect={name: found.revision})
            return found.message

        if marked := await retried(attempt):
            await self._tell(marked, events.DELETION_ASKED, "it drains and goes")
        return pb.DeletePositionResponse()

    async def _create(self, asked: pb.Position, name: str, *, validate_only: bool) -> pb.Position:
        created = await create(
            self._kit, POSITIONS, asked, name, made=_number, guard=self._guard, validate_only=validate_only
        )
        if not validate_only:
            await self._tell(created, events.CREATED, f"generation 1: {_summary(created.spec)}")
        return await self._shown(created)

    async def _update(self, request: pb.UpdatePositionRequest) -> pb.Position:
        before, after = await update(
            self._kit,
            POSITIONS,
            request.position,
            request.update_mask.paths,
            touch=_renumber,
            guard=self._guard_change,
            validate_only=request.validate_only,
        )
        if after.generation > before.generation and not request.validate_only:
            await self._tell(after, events.SPEC_CHANGED, f"generation {after.generation}: {_summary(after.spec)}")
        return await self._shown(after)

    async def _guard_change(self, before: pb.Position, after: pb.Position) -> Guards:
        """A spec that stays may name what may not be deployed any more: it is served on."""
        if after.generation == before.generation:
            return NO_GUARDS
        return await self._guard_places(after) | await quota_guards(self._kit, after, before)

    async def _guard(self, position: pb.Position) -> Guards:
        return await self._guard_places(position) | await quota_guards(self._kit, position)

    async def _guard_places(self, position: pb.Position) -> Guards:
        """The edge server and its fallbacks exist, and the version may be deployed there, with so many replicas.

        Raises: Precondition, with the reason and a hint.
        """
        spec = position.spec
        guards: dict[str, int] = {}
        for server in servers_of(position):
            edge_server = await self._kit.resources.find(EDGE_SERVER, server)
            if edge_server is None:
                message = f"there is no edge server {names.leaf(server)!r}"
                hint = "create it first, or choose one that `waypost edge-server list` shows"
                raise Precondition("EDGE_SERVER_NOT_FOUND", message, hint, edge_server=server)
            guards[server] = edge_server.revision
        version = await self._kit.resources.find(MODEL_VERSION, spec.model_version)
        reason = deployable(version_of(version.message) if version else None)
        if reason is not None:
            message, hint = explain(reason, names.short(spec.model_version))
            raise Precondition(reason, message, hint, model_version=spec.model_version)
        assert version is not None
        check_replicas(spec, version.message)
        return Guards({**guards, version.message.name: version.revision})

    async def _tell(self, position: pb.Position, reason: str, message: str) -> None:
        by = f" (by {caller().name})" if caller().name else ""
        await self._kit.recorder.record(position.name, reason, f"{message}{by}")


def _number(position: pb.Position) -> None:
    position.generation = 1


def _renumber(before: pb.Position, after: pb.Position) -> None:
    """A spec that changes gets the next generation. Raises: Precondition(POSITION_DELETING)."""
    if before.HasField("delete_time"):
        raise Precondition(
            "POSITION_DELETING",
            f"position {names.short(before.name)!r} is being deleted",
            "wait until it is gone, then create it anew",
            name=before.name,
        )
    if after.spec != before.spec:
        after.generation = before.generation + 1


def _summary(spec: pb.PositionSpec) -> str:
    return f"{names.short(spec.model_version)} at {names.leaf(spec.edge_server)}"
