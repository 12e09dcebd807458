"""Laws of field masks, on positions: maps, messages in messages, scalars."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.services.masks import merged
from waypost.api.control.v1.position_pb2 import Position
from waypost.errors import Invalid

WRITABLE = ("spec", "description", "labels")
LEAVES = (
    "description",
    "labels",
    "spec.model_version",
    "spec.edge_server",
    "spec.replicas",
    "spec.replicas.min",
    "spec.replicas.max",
    "spec.serve_as",
    "spec.endpoint",
    "spec.endpoint.dedicated_port",
    "spec.resources.cpu_millis",
)
texts = st.sampled_from(["", "a", "b"])
numbers = st.integers(0, 2)


def maybe(strategy: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object] | None]:
    return st.none() | strategy


specs = st.fixed_dictionaries(
    {
        "model_version": texts,
        "edge_server": texts,
        "serve_as": texts,
        "replicas": maybe(st.fixed_dictionaries({"min": numbers, "max": numbers})),
        "endpoint": maybe(st.fixed_dictionaries({"dedicated_port": st.booleans()})),
        "resources": maybe(st.fixed_dictionaries({"cpu_millis": numbers})),
    }
)
positions = st.builds(
    Position,
    name=texts,
    uid=texts,
    description=texts,
    labels=st.dictionaries(st.sampled_from("xy"), texts),
    spec=maybe(specs),
    generation=numbers,
)
masks = st.lists(st.sampled_from(LEAVES), unique=True, min_size=1)


def value(position: Position, path: str) -> object:
    """What a path leads to; unset is as good as empty."""
    message: object = position
    for name in path.split("."):
        message = getattr(message, name)
    return dict(position.labels) if path == "labels" else message


@given(positions, positions, masks)
def test_what_a_mask_names_comes_from_the_update_and_all_else_stays(
    current: Position, update: Position, paths: list[str]
) -> None:
    result = merged(current, update, paths, WRITABLE)
    for path in LEAVES:
        named = any(path == other or path.startswith(f"{other}.") for other in paths)
        inside = any(other.startswith(f"{path}.") for other in paths)
        if named:
            assert value(result, path) == value(update, path)
        elif not inside:
            assert value(result, path) == value(current, path)
    assert (result.name, result.uid, result.generation) == (current.name, current.uid, current.generation)


@given(positions, positions, masks)
def test_the_same_update_twice_changes_nothing_more(current: Position, update: Position, paths: list[str]) -> None:
    once = merged(current, update, paths, WRITABLE)
    assert merged(once, update, paths, WRITABLE) == once


@given(positions, masks)
def test_an_update_with_what_is_there_changes_nothing(current: Position, paths: list[str]) -> None:
    assert merged(current, current, paths, WRITABLE) == current


@given(positions, positions)
def test_no_mask_and_a_star_mean_all_that_is_writable(current: Position, update: Position) -> None:
    result = merged(current, update, (), WRITABLE)
    assert result == merged(current, update, ("*",), WRITABLE) == merged(current, update, WRITABLE, WRITABLE)
    assert (result.spec, result.description, result.labels) == (update.spec, update.description, update.labels)


@given(positions, positions, masks)
def test_neither_argument_is_touched(current: Position, update: Position, paths: list[str]) -> None:
    before = current.SerializeToString(deterministic=True), update.SerializeToString(deterministic=True)
    merged(current, update, paths, WRITABLE)
    assert (current.SerializeToString(deterministic=True), update.SerializeToString(deterministic=True)) == before


@pytest.mark.parametrize(
    "path",
    ["", ".", "name", "status", "status.state", "spec.", "spec.nope", "spec.replicas.min.x", "labels.x", "Spec", "*.x"],
)
def test_paths_that_lead_nowhere_or_where_nobody_may_write_are_refused(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        merged(Position(), Position(), [path], WRITABLE)
    assert refused.value.reason == "BAD_MASK"


@given(st.text())
def test_any_text_is_a_path_or_refused(path: str) -> None:
    with suppress(Invalid):
        merged(Position(), Position(), [path], WRITABLE)


def test_a_star_stands_alone() -> None:
    with pytest.raises(Invalid):
        merged(Position(), Position(), ["*", "labels"], WRITABLE)
