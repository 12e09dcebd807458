"""How much our objects hold. In a world at rest nothing may have grown with what happened to it.

Every queue, ring and map of ours is found by walking the objects of our own modules; none has to be named here but
those whose bound is larger than the world.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sim.world import World

OURS = ("mesh", "control_plane", "edge_agent", "position_monitor")
SIZE_MAX = 60
"""Of anything in a world of four edge servers, six positions and five versions: more than what there can be at once
(24 replicas, 30 packages), less than what happens in a run."""
BOUNDED = {
    "ChildCore._events": 512,
    "ChildCore._samples": 64,
    "Journal._outcomes": 256,
}
"""Rings, with the bounds that their constants set."""


def oversized(world: "World") -> Iterator[tuple[str, int]]:
    """(where, how many)."""
    seen: set[int] = set()
    roots: list[tuple[str, Any]] = [
        (plane.name, vars(plane.serving)) for plane in world.planes if plane.serving is not None
    ]
    roots += [(edge.name, vars(edge.agent)) for edge in world.edges if edge.agent is not None]
    for path, root in roots:
        yield from _walk(path, root, seen)


def _walk(path: str, thing: Any, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping | Set | list | tuple | deque) and not isinstance(thing, str | bytes):
        limit = next((limit for name, limit in BOUNDED.items() if path.endswith(name)), SIZE_MAX)
        if len(thing) > limit:
            yield path, len(thing)
        members = thing.items() if isinstance(thing, Mapping) else enumerate(thing)
        for key, member in members:
            yield from _walk(f"{path}[{key!s:.40}]", member, seen)
    elif type(thing).__module__.partition(".")[0] in OURS and not isinstance(thing, type):
        for name, member in _attributes(thing):
            yield from _walk(f"{path}.{type(thing).__name__}.{name}", member, seen)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    slots = {slot for kind in type(thing).__mro__ for slot in getattr(kind, "__slots__", ())}
    for name in sorted(slots | getattr(thing, "__dict__", {}).keys()):
        if hasattr(thing, name):
            yield name, getattr(thing, name)
