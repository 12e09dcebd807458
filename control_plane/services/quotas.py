"""A project's quota, where a commit takes of it.

What is used is added up from the positions there are. Two that take at the same time cannot both fit: each such commit
writes the project's record of usage under the condition that it is as it was read, so that one of them conflicts, and
looks again.
"""

from control_plane.domain.quota import check_quota, is_set, project_name, used_by
from control_plane.services.kit import Kit
from control_plane.services.writing import Guards
from control_plane.store.resources import POSITION, PROJECT, USED, used_name
from waypost.api.control.v1.position_pb2 import Position


async def quota_guards(kit: Kit, after: Position, before: Position | None = None) -> Guards:
    """For a position that is written. before: None for a new one.

    Raises: Exhausted(QUOTA_EXCEEDED), Invalid(INVALID_FIELD), NotFound for the project.
    """
    project = await kit.resources.get(PROJECT, project_name(after.name))
    unchanged = Guards({project.message.name: project.revision})  # a quota may be set meanwhile
    quota = project.message.spec.quota
    if not is_set(quota):
        return unchanged
    ticket = await kit.resources.find(USED, used_name(project.message.name))
    prefix = f"{project.message.name}/"
    there = [stored.message async for stored in kit.resources.all(POSITION, prefix)]
    others = [position for position in there if position.name != after.name]
    check_quota(quota, used_by(others), after, before)
    name = used_name(project.message.name)
    put = USED.encode(name, used_by([*others, after]))
    return unchanged | Guards({name: ticket.revision if ticket else 0}, [put])
