"""A plan that remembers what messages said is the plan that reads them all again."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.assignments import Conversions, Kept, Resources, plan_resources
from tests.unit.control_plane.domain.test_assignments import APPLICATION, POSITION, SERVER, VERSION, changed
from waypost.api.control.v1 import position_pb2
from waypost.api.link.v1.link_pb2 import Desired

NAMES = [f"{APPLICATION}/positions/p{number}" for number in range(4)]

changes = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 3)), max_size=8)
"""One after the other: which position gets how many replicas."""


@given(changes)
def test_what_is_remembered_never_changes_a_plan(steps: list[tuple[str, int]]) -> None:
    conversions = Conversions()
    positions: dict[str, position_pb2.Position] = {}
    desired: dict[str, Desired] = {}
    for revision, (name, replicas) in enumerate(steps, 1):
        spec = {"model_version": VERSION.name, "edge_server": SERVER, "replicas": {"min": replicas}}
        positions[name] = changed(position_pb2.Position(name=name, uid=name), generation=revision, spec=spec)
        resources = Resources(
            revision=revision,
            positions=list(positions.values()),
            versions=[VERSION],
            credentials=[],
            edge_servers=frozenset({SERVER}),
            desired={server: told.upserts for server, told in desired.items()},
            reports=[],
        )
        outcome = plan_resources(resources, now_s=0.0, conversions=conversions)
        assert outcome == plan_resources(resources, now_s=0.0)
        desired.update({server: Desired(upserts=items) for server, items in outcome.changed.items()})


def test_a_message_is_converted_once_and_another_one_of_its_name_anew() -> None:
    seen: list[int] = []

    def convert(position: position_pb2.Position) -> int:
        seen.append(position.generation)
        return position.generation

    kept = Kept(convert)
    other = changed(POSITION, generation=5)
    for position in (POSITION, POSITION, other, other, POSITION):
        assert kept.all([(POSITION.name, position)]) == {POSITION.name: position.generation}
    assert seen == [4, 5, 4]
    assert kept.all([]) == {}
