"""From what people want to what each edge server is told.

    policy     all positions, versions, tokens and edge servers, as of one store revision
    parent     the desired state that was planned before, per edge server
    inventory  what the edge said: versions refused, positions gone
        -> Plan  the desired state now

The plan is a whole, not a list of steps: whoever runs it twice gets the same, and whoever lost one runs it again. Each
item carries a generation, which rises exactly when its assignment changes. New generations are the revision that the
plan was made from, plus one: the commit that writes the plan has at least that revision, so a number is never used
twice for one name, not even when a position is deleted and made anew, or moves away and comes back while an edge
server is cut off.

What holds, whatever the input (tests/unit/control_plane/domain/test_plan.py):

* planning again on its own result changes nothing; the order of the inputs does not matter;
* a live position is assigned to the server that its spec names where that exists and there is a version to give, and to
  none that is not known; to another one instead or besides only by its own rule for the absence of that (absence.py);
* a version that is not AVAILABLE, or that the position refused, is never newly given; what it has it keeps;
* a position in deletion stays where it is, marked, until its server says that nothing is left of it.

A move (`spec.edge_server` changed) takes the position away from the old server and gives it to the new one in the same
plan. The new one needs seconds to serve and the old one stops as soon as it hears: make-before-break across servers is
not here yet.
"""

import math
from dataclasses import replace

from control_plane.domain.absence import whereabouts
from control_plane.domain.placement import by_position, choose_version, last_told, told_of
from control_plane.domain.types import (
    Assignment,
    Desired,
    Held,
    HeldReason,
    Inventory,
    Item,
    Plan,
    Policy,
    Position,
    Token,
)

_NOTHING: frozenset[str] = frozenset()


def plan(policy: Policy, parent: Desired, inventory: Inventory, *, now_s: float) -> Plan:
    """The desired state of every edge server known.

    now_s: Unix seconds; tokens that have expired by then are left out.
    """
    draft = _Draft(policy, parent, inventory)
    for _, position in sorted(policy.positions.items()):
        if position.deleting:
            _retire(draft, position, inventory)
        else:
            _assign(draft, position, inventory, now_s)
    return draft.freeze()


class _Draft:
    """A plan in the making. Positions come by rising name, so that what is made of them is in order already."""

    def __init__(self, policy: Policy, parent: Desired, inventory: Inventory) -> None:
        self.policy = policy
        self.parent = parent
        self.told = by_position(parent)
        self.there = inventory.connected & policy.edge_servers
        self.desired: dict[str, dict[str, Item]] = {server: {} for server in sorted(policy.edge_servers)}
        self.held: dict[str, Held] = {}
        self.finished: set[str] = set()
        self.replaced: dict[str, str] = {}
        self.look_again_s = math.inf

    def put(self, server: str, assignment: Assignment) -> None:
        """Assigns; the generation stays where nothing changed."""
        before = self.parent.get(server, {}).get(assignment.position)
        if before and before.assignment == assignment:
            self.desired[server][assignment.position] = before
            return
        generation = max(self.policy.revision, before.generation if before else 0) + 1
        self.desired[server][assignment.position] = Item(generation, assignment)

    def freeze(self) -> Plan:
        return Plan(self.desired, self.held, frozenset(self.finished), self.replaced, self.look_again_s)


def _assign(draft: _Draft, position: Position, inventory: Inventory, now_s: float) -> None:
    """Gives a wanted position to the server that its spec names, or to who stands in for it."""
    policy = draft.policy
    if position.edge_server not in policy.edge_servers:
        draft.held[position.name] = Held(HeldReason.EDGE_SERVER_NOT_FOUND)
        return
    told = last_told(draft.told, position)
    before = told[1].assignment if told else None
    rejected = inventory.rejected.get(position.uid, _NOTHING)
    version, held = choose_version(position, policy.versions.get(position.model_version), before, rejected)
    if held:
        draft.held[position.name] = held
    if version:
        tokens, home = _good_tokens(policy, position, now_s), position.edge_server
        assignment = Assignment(
            position.name,
            position.uid,
            position.generation,
            position.spec,
            version,
            tokens,
            home=home,
            allowed_until_ms=position.allowed_until_ms,
        )
        for server in _servers(draft, position, inventory, now_s):
            draft.put(server, replace(assignment, software=position.software or policy.software.get(server, "")))


def _servers(draft: _Draft, position: Position, inventory: Inventory, now_s: float) -> tuple[str, ...]:
    holders = [
        server for server, item in told_of(draft.told, position).items() if item.assignment.home == position.edge_server
    ]
    known = [server for server in holders if server in draft.policy.edge_servers]
    where = whereabouts(position, known, draft.there, inventory, now_s=now_s)
    draft.look_again_s = min(draft.look_again_s, where.look_again_s)
    if stands_in := [server for server in where.servers if server != position.edge_server]:
        draft.replaced[position.name] = stands_in[0]
    return where.servers


def _good_tokens(policy: Policy, position: Position, now_s: float) -> tuple[Token, ...]:
    tokens = policy.tokens.get(position.application, frozenset())
    good = (token for token in tokens if not 0 < token.expire_unix_s <= now_s)
    return tuple(sorted(good, key=lambda token: token.credential))


def _retire(draft: _Draft, position: Position, inventory: Inventory) -> None:
    """Keeps a position in deletion where it is, marked, until it is gone there."""
    left = [
        (server, item)
        for server, item in told_of(draft.told, position).items()
        if server in draft.policy.edge_servers and (server, position.uid) not in inventory.gone
    ]
    for server, item in left:
        draft.put(server, replace(item.assignment, deleting=True))
    if not left:
        draft.finished.add(position.name)
