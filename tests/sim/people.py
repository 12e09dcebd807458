"""What people do while everything fails: deploy, swap, scale, move, delete, clear, withdraw, confirm, look.

They call the real services inside a control plane that happens to be up. A call that fails, or whose control plane is
killed under it, may or may not have done something: what counts is what the store says afterwards.
"""

import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from control_plane.store.resources import MODEL_VERSION, POSITION
from tests.sim.catalogue import APPLICATION
from tests.sim.plane import Serving
from waypost.api.control.v1 import edge_server_pb2 as edge_pb
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    MODEL_VERSION_STATE_WITHDRAWN,
)
from waypost.errors import MeshError

if TYPE_CHECKING:
    from tests.sim.world import World

POSITIONS_MAX = 6
REPLICAS_MAX = 3


Act = Callable[[Serving], Coroutine[Any, Any, str]]


class People:
    def __init__(self, world: "World", rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._acts = [
            (self._deploy, 4),
            (self._swap, 6),
            (self._scale, 3),
            (self._move, 3),
            (self._delete, 2),
            (self._clear, 3),
            (self._withdraw, 1),
            (self._publish, 1),
            (self._read_logs, 1),
            (self._confirm, 2),
        ]

    def begin(self) -> None:
        """The first positions, before anything goes wrong."""
        for _ in range(self._rng.randint(1, POSITIONS_MAX)):
            self._do(self._deploy)

    def act(self) -> None:
        """One of them does something, if a control plane is up."""
        self._do(self._rng.choices([act for act, _ in self._acts], [weight for _, weight in self._acts])[0])

    def _do(self, act: Act) -> None:
        planes = [plane.answering for plane in self._world.planes if plane.answering is not None]
        if planes:
            plane = self._rng.choice(planes)
            plane.process.spawn(self._heard(act.__name__, act(plane)), "person")

    async def _heard(self, name: str, act: Coroutine[Any, Any, str]) -> None:
        note: Callable[[str], None] = self._world.witness.book.note
        try:
            note(f"somebody {name[1:]}s {await act}")
        except MeshError as error:
            note(f"somebody could not {name[1:]}: {error.reason}")

    # -- one by one

    async def _deploy(self, plane: Serving) -> str:
        id_ = f"pos-{self._rng.randint(1, POSITIONS_MAX)}"
        spec = pb.PositionSpec(
            model_version=self._version(),
            edge_server=self._rng.choice(self._world.edges).name,
            replicas=self._replicas(),
        )
        spec.endpoint.dedicated_port = self._rng.random() < 0.4
        if self._rng.random() < 0.15:
            spec.on_disconnect.stop_after.FromSeconds(self._rng.randint(15, 60))
        await plane.positions.CreatePosition(
            pb.CreatePositionRequest(parent=APPLICATION, position_id=id_, position=pb.Position(spec=spec)), None
        )
        return f"{id_} with {spec.model_version[-1]} on {spec.edge_server}"

    async def _swap(self, plane: Serving) -> str:
        return await self._update(plane, pb.PositionSpec(model_version=self._version()), "spec.model_version")

    async def _scale(self, plane: Serving) -> str:
        return await self._update(plane, pb.PositionSpec(replicas=self._replicas()), "spec.replicas")

    async def _move(self, plane: Serving) -> str:
        target = self._rng.choice(self._world.edges).name
        return await self._update(plane, pb.PositionSpec(edge_server=target), "spec.edge_server")

    async def _update(self, plane: Serving, spec: pb.PositionSpec, path: str) -> str:
        name = self._any_position()
        request = pb.UpdatePositionRequest(position=pb.Position(name=name, spec=spec))
        request.update_mask.paths.append(path)
        after = (await plane.positions.UpdatePosition(request, None)).position
        return f"{name} to generation {after.generation}: {path} {str(spec).split()}"

    async def _delete(self, plane: Serving) -> str:
        name = self._any_position()
        await plane.positions.DeletePosition(pb.DeletePositionRequest(name=name), None)
        return name

    async def _clear(self, plane: Serving) -> str:
        name = self._any_position()
        shown = (await plane.positions.GetPosition(pb.GetPositionRequest(name=name), None)).position
        for refused in shown.status.rejected:
            self._world.witness.disks.cleared.add((shown.uid, refused.digest))
            request = pb.ClearRejectionRequest(name=name, model_version=refused.model_version)
            await plane.positions.ClearRejection(request, None)
        return f"{name} of {len(shown.status.rejected)} rejections"

    async def _withdraw(self, plane: Serving) -> str:
        """As the follower of a training platform does; one version stays good."""
        name = self._rng.choice(sorted(self._world.versions)[1:])
        return await self._set_state(plane, name, MODEL_VERSION_STATE_WITHDRAWN)

    async def _publish(self, plane: Serving) -> str:
        importing = [n for n in self._world.versions if self._world.state_of(n) == MODEL_VERSION_STATE_IMPORTING]
        if not importing:
            return "nothing"
        return await self._set_state(plane, self._rng.choice(importing), MODEL_VERSION_STATE_AVAILABLE)

    def confirm(self) -> None:
        """Somebody looks after the edge servers of a store that was restored."""
        self._do(self._confirm)

    async def _confirm(self, plane: Serving) -> str:
        incarnation = self._world.database.incarnation
        waiting = [edge.name for edge in self._world.edges if not self._world.is_confirmed(edge.name)]
        for name in waiting:
            self._world.witness.commits.confirmed.add((name, incarnation))
            await plane.edge_servers.ConfirmDesiredState(edge_pb.ConfirmDesiredStateRequest(name=name), None)
        return f"{len(waiting)} edge servers"

    async def _set_state(self, plane: Serving, name: str, state: Any) -> str:
        record = await plane.stores.records.read(name)
        assert record is not None
        version = MODEL_VERSION.decode(record)
        version.state = state
        await plane.stores.records.commit([MODEL_VERSION.encode(name, version)], expect={name: record.revision})
        return name

    async def _read_logs(self, plane: Serving) -> str:
        context: Any = None
        request = pb.ReadPositionLogsRequest(name=self._any_position())
        pieces = [piece async for piece in plane.positions.ReadPositionLogs(request, context)]
        return f"{len(pieces)} logs of {request.name}"

    # ------------------------------------------------------------------------------------------------------------------

    def _any_position(self) -> str:
        """One that exists, where there is one."""
        there = [name for name, record in self._world.database.records.items() if record.kind == POSITION.kind]
        return self._rng.choice(sorted(there) or [f"{APPLICATION}/positions/pos-1"])

    def _version(self) -> str:
        return self._rng.choice(sorted(self._world.versions))

    def _replicas(self) -> pb.Replicas:
        least = self._rng.randint(1, REPLICAS_MAX)
        return pb.Replicas(min=least, max=self._rng.randint(least, REPLICAS_MAX + 1))
