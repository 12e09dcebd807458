"""Where a position runs and with which version: the two choices behind each assignment.

People choose the edge server (`spec.edge_server`); nothing is moved on our own account. The version is the one that
the spec names, unless it may not be given out now: then the position keeps the one it has, and `Held` says why.
"""

from collections.abc import Mapping

from control_plane.domain.types import (
    Assignment,
    Desired,
    Held,
    HeldReason,
    Item,
    Position,
    Version,
    VersionContent,
    VersionState,
)

_NOT_DEPLOYABLE = {
    VersionState.IMPORTING: HeldReason.VERSION_IMPORTING,
    VersionState.INVALID: HeldReason.VERSION_INVALID,
    VersionState.WITHDRAWN: HeldReason.VERSION_WITHDRAWN,
}


def deployable(version: Version | None, rejected: frozenset[str] = frozenset()) -> HeldReason | None:
    """None where the version may be given to a position that does not have it yet; else why not."""
    if version is None:
        return HeldReason.VERSION_NOT_FOUND
    if version.state is not VersionState.AVAILABLE:
        return _NOT_DEPLOYABLE[version.state]
    return HeldReason.VERSION_REJECTED if version.content.digest in rejected else None


def choose_version(
    position: Position, version: Version | None, before: Assignment | None, rejected: frozenset[str]
) -> tuple[VersionContent | None, Held | None]:
    """The version to give out, and why it is not the one asked for.

    before: what the position was told last, on whichever server. What it has already it keeps, whatever became of
    that version since: withdrawn and serving means serving on.
    """
    if before and before.version.name == position.model_version and _same(version, before.version):
        return version.content if version else before.version, None
    reason = deployable(version, rejected)
    if reason is None:
        assert version is not None
        return version.content, None
    return (before.version, Held(reason, before.version.name)) if before else (None, Held(reason))


def _same(version: Version | None, content: VersionContent) -> bool:
    """A version whose record is gone still is what it was; one made anew under the old name is another."""
    return version is None or version.content.digest == content.digest


Told = Mapping[str, Mapping[str, Item]]
"""Position -> edge server -> item: a desired state, read the other way."""


def by_position(desired: Desired) -> Told:
    found: dict[str, dict[str, Item]] = {}
    for server, items in desired.items():
        for name, item in items.items():
            found.setdefault(name, {})[server] = item
    return found


def told_of(told: Told, position: Position) -> Mapping[str, Item]:
    """By edge server, the items that tell of this very position, and not of one that had its name before."""
    holders = told.get(position.name, {})
    return {server: item for server, item in holders.items() if item.assignment.uid == position.uid}


def last_told(told: Told, position: Position) -> tuple[str, Item] | None:
    """(edge server, item) that told of this position last. On two servers at once: the one that the spec names."""
    holders = told_of(told, position)
    if not holders:
        return None
    server = position.edge_server if position.edge_server in holders else min(holders)
    return server, holders[server]
