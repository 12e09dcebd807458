"""Which path of the HTTP face leads where: a table built once, and what was found in it for each target.

    v2/models/{model}[/versions/{version}]/infer

A hole takes one segment, percent-decoded, and never an empty one; what stands in brackets may be missing. The first
pattern that fits counts. Matching takes longer than a small model, and clients ask for the same few targets again and
again: what was found is remembered.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from inference_host.transport.http1_core import Answer, Request
from inference_host.values.calls import Withdraw
from inference_host.values.memo import Memo

TARGETS_MAX = 512  # a host has a few dozen that exist, but for the spellings of one

Action: TypeAlias = Callable[[Request, "Found", Answer], Withdraw | None]
Pattern: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a target leads."""

    actions: Mapping[str, Action]
    """By HTTP method."""
    model: str = ""
    version: str = ""
    repository: str = ""
    region: str = ""


class Routes:
    def __init__(self, table: Mapping[str, Mapping[str, Action]]) -> None:
        """table: what can be done at each pattern, by HTTP method."""
        self._table = [(pattern, actions) for text, actions in table.items() for pattern in _patterns(text)]
        self._known: Memo[str, Found] = Memo(TARGETS_MAX)

    def find(self, target: str) -> Found | None:
        """target: of a request, with its query, which says nothing here."""
        return self._known.get(target) or self._match(target)

    def _match(self, target: str) -> Found | None:
        segments = [unquote(segment) for segment in target.partition("?")[0].strip("/").split("/")]
        for pattern, actions in self._table:
            holes = _holes(pattern, segments)
            if holes is not None:
                return self._known.remember(target, Found(actions, **holes))
        return None


def _patterns(text: str) -> Iterator[Pattern]:
    """With what stands in brackets, and without it."""
    before, bracket, rest = text.partition("[")
    inside, _, after = rest.partition("]")
    if bracket:
        yield tuple(f"{before}{inside}{after}".split("/"))
    yield tuple(f"{before}{after}".split("/"))


def _holes(pattern: Pattern, segments: Sequence[str]) -> dict[str, str] | None:
    """What the holes of a pattern take; None where it does not fit."""
    if len(pattern) != len(segments):
        return None
    holes: dict[str, str] = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{") and segment:
            holes[expected.strip("{}")] = segment
        elif expected != segment:
            return None
    return holes
