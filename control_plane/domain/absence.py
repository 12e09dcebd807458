"""On which edge servers a position is, when its own may be away. Pure.

    its own is there                          its own
    away, no rule, or not for long enough     its own: what it serves it serves on, and nobody else does
    away for `replace_after`                  the first fallback that is connected stands in
        back, KEEP_ORIGINAL                   both, until its own serves it again; then its own
        back, KEEP_REPLACEMENT                the one that stands in, until that is away, or people name another one

While its own is away it keeps the assignment under KEEP_ORIGINAL: whoever reaches it there is served, by both. Under
KEEP_REPLACEMENT it loses it, and stops as soon as it hears.

Being away is the control plane's observation, and every control plane counts for itself from its own start: one that
was down has seen nobody, and nobody is replaced for that.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from control_plane.domain.types import Inventory, Position


@dataclass(frozen=True, slots=True)
class Whereabouts:
    servers: tuple[str, ...]
    """Where it is assigned, the one that the spec names first if it is among them."""
    look_again_s: float = math.inf
    """When the answer changes although nothing else does, in Unix seconds."""


def whereabouts(
    position: Position, holders: Collection[str], there: Collection[str], inventory: Inventory, *, now_s: float
) -> Whereabouts:
    """holders: edge servers that were told of it under the same `edge_server`. there: those that are connected."""
    own, rule = position.edge_server, position.absence
    if rule is None:
        return Whereabouts((own,))
    stands_in = next((server for server in rule.fallbacks if server in holders), None)
    due_s = _away_until(stands_in or own, rule.replace_after_s, inventory)
    if due_s <= now_s:
        stands_in = next((server for server in (*rule.fallbacks, own) if server in there), stands_in)
        due_s = math.inf
    if stands_in is None or stands_in == own:
        return Whereabouts((own,), due_s)
    if rule.keep_replacement:
        return Whereabouts((stands_in,), due_s)
    if own in there and (own, position.uid) in inventory.serving:
        return Whereabouts((own,))
    return Whereabouts((own, stands_in), due_s)


def _away_until(server: str, patience_s: float, inventory: Inventory) -> float:
    """When it will have been away for too long; infinite where it is there."""
    since_s = inventory.away_since_s.get(server)
    return math.inf if since_s is None else since_s + patience_s
