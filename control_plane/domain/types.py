"""The values that `plan` reasons about.

They carry what a decision needs and nothing more: contents that are only passed on (a spec, a model version's files)
stay bytes here, compared but never looked into. `assignments.py` makes these values from messages and back.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class VersionState(StrEnum):
    IMPORTING = "importing"
    AVAILABLE = "available"
    INVALID = "invalid"
    WITHDRAWN = "withdrawn"


class HeldReason(StrEnum):
    """Why a position does not get what its spec asks for. The values are reasons of errors and conditions as well."""

    EDGE_SERVER_NOT_FOUND = "EDGE_SERVER_NOT_FOUND"
    VERSION_NOT_FOUND = "VERSION_NOT_FOUND"
    VERSION_IMPORTING = "VERSION_IMPORTING"
    VERSION_INVALID = "VERSION_INVALID"
    VERSION_WITHDRAWN = "VERSION_WITHDRAWN"
    VERSION_REJECTED = "VERSION_REJECTED"


@dataclass(frozen=True, slots=True)
class Token:
    """An application's credential as the edge needs it. expire_unix_s: 0 = never."""

    credential: str
    sha256: str
    expire_unix_s: int = 0


@dataclass(frozen=True, slots=True)
class VersionContent:
    """What the edge is told of a model version: immutable. body: the serialized message."""

    name: str
    digest: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Version:
    content: VersionContent
    state: VersionState


@dataclass(frozen=True, slots=True)
class Absence:
    """Who stands in for an edge server that is away for so long, and whether it stays when that is back."""

    replace_after_s: float
    fallbacks: tuple[str, ...]
    keep_replacement: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """A position as people want it.

    spec: the serialized spec without `model_version` and `software_version`, which `plan` may choose otherwise.
    """

    name: str
    uid: str
    generation: int
    edge_server: str
    model_version: str
    spec: bytes
    deleting: bool = False
    absence: Absence | None = None
    """None: nobody stands in."""
    software: str = ""
    """Version of the platform's software; empty: as its edge server says."""
    allowed_until_ms: int = 0
    """Milliseconds since the epoch: until then it is changed whatever windows its edge server has."""

    @property
    def application(self) -> str:
        return self.name.rsplit("/", 2)[0]


@dataclass(frozen=True, slots=True)
class Policy:
    """All that people and sources want, as of store revision `revision`. Keys are full names."""

    revision: int
    positions: Mapping[str, Position]
    versions: Mapping[str, Version]
    tokens: Mapping[str, frozenset[Token]]
    """By application."""
    edge_servers: frozenset[str]
    software: Mapping[str, str] = field(default_factory=dict)
    """By edge server, what its positions run that say nothing themselves. Not named: whatever its agent is."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the edge said that planning must respect."""

    rejected: Mapping[str, frozenset[str]]
    """Digests of the versions that a position refused, by the position's uid."""
    gone: frozenset[tuple[str, str]]
    """(edge server, position uid) of which nothing is left there."""
    connected: frozenset[str] = frozenset()
    """Edge servers whose agent is there."""
    away_since_s: Mapping[str, float] = field(default_factory=dict)
    """Unix seconds, of those whose lease has run out."""
    serving: frozenset[tuple[str, str]] = frozenset()
    """(edge server, position uid) that answer there, as its agent has said since it is connected."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that one edge server is told of one position: the content of one item of its desired state."""

    position: str
    uid: str
    generation: int
    spec: bytes
    version: VersionContent
    tokens: tuple[Token, ...]
    deleting: bool = False
    home: str = ""
    """The edge server that the spec names; not always the one that is told."""
    software: str = ""
    """Version of the platform's software that it runs there; empty: as the agent is."""
    allowed_until_ms: int = 0
    """As in Position."""


@dataclass(frozen=True, slots=True)
class Item:
    """An assignment with its number. generation: rises exactly when the assignment changes."""

    generation: int
    assignment: Assignment


Desired = Mapping[str, Mapping[str, Item]]
"""Edge server -> position -> item."""


@dataclass(frozen=True, slots=True)
class Held:
    """A position that does not get the version it asks for. keeps: what it is given instead; may be empty."""

    reason: HeldReason
    keeps: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    desired: Desired
    """Of every edge server known, with or without items."""
    held: Mapping[str, Held]
    finished: frozenset[str]
    """Positions in deletion that no edge server holds any more: their records may go."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Position -> the edge server that stands in for its own."""
    look_again_s: float = math.inf
    """When the plan changes although nothing else does, in Unix seconds."""
