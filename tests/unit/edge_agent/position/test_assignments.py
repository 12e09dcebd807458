"""What comes down the links is looked at before anything is written down."""

import pytest

from edge_agent.model_version import Version
from edge_agent.position.assignments import read_assignment, read_decision, sets_back, variant_of
from edge_agent.position.diff import DecidedShare
from mesh.link import Item
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.control.v1.position_pb2 import PositionSpec, Replicas, Resources
from waypost.api.link.v1 import monitor_link_pb2 as pb
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.errors import Invalid

POSITION = "projects/p/applications/a/positions/tower-7"
VERSION = ModelVersion(name="projects/p/applications/a/models/m/versions/4", digest="sha256:" + "a" * 64)


def assignment(**changes: object) -> PositionAssignment:
    message = PositionAssignment(
        position=POSITION,
        uid="7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001",
        generation=3,
        spec=PositionSpec(model_version=VERSION.name),
        model_version=VERSION,
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def item(message: PositionAssignment, name: str = POSITION) -> Item:
    return Item(name, 7, message.SerializeToString())


def test_bounds_that_are_not_given_mean_one_replica() -> None:
    wanted = read_assignment(item(assignment())).wanted
    assert (wanted.replicas_min, wanted.replicas_max) == (1, 1)
    assert wanted.version == Version(VERSION.name, VERSION.digest)


def test_an_upper_bound_below_the_lower_one_means_the_lower_one() -> None:
    message = assignment()
    message.spec.replicas.CopyFrom(Replicas(min=3, max=0))
    wanted = read_assignment(item(message)).wanted
    assert (wanted.replicas_min, wanted.replicas_max) == (3, 3)


def test_the_served_name_is_the_positions_id_unless_one_is_given() -> None:
    message = assignment()
    assert read_assignment(item(message)).serve_as == "tower-7"
    message.spec.serve_as = "path"
    assert read_assignment(item(message)).serve_as == "path"


@pytest.mark.parametrize(
    "broken",
    [
        Item(POSITION, 1, b"\xff\xff\xff"),
        item(assignment(uid="../../etc")),
        item(assignment(position="projects/p/applications/a/positions/other")),
        item(assignment(position="tower-7"), "tower-7"),
        item(PositionAssignment(position=POSITION, uid="7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001")),
    ],
)
def test_an_assignment_that_cannot_be_acted_upon_is_refused(broken: Item) -> None:
    with pytest.raises(Invalid):
        read_assignment(broken)


def test_a_position_that_goes_needs_no_version() -> None:
    message = assignment(deleting=True)
    message.ClearField("model_version")
    assert read_assignment(item(message)).wanted.deleting


def decision(**changes: object) -> pb.Decision:
    shares = [
        pb.VersionShare(model_version="m/1", digest="sha256:" + "1" * 64, replicas=2, weight=90),
        pb.VersionShare(model_version="m/2", digest="sha256:" + "2" * 64, replicas=1, weight=10, leaving=["r-9"]),
    ]
    message = pb.Decision(number=1, generation=3, shares=shares)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_a_decision_is_read() -> None:
    message = decision()
    message.verdicts.add(digest="sha256:bad")
    read = read_decision(message)
    assert read.shares[1] == DecidedShare(Version("m/2", "sha256:" + "2" * 64), 1, 10, frozenset({"r-9"}))
    assert read.rejected == {"sha256:bad"}


def test_a_decision_that_makes_no_sense_is_refused() -> None:
    for spoil in (
        lambda m: setattr(m, "number", 0),
        lambda m: setattr(m.shares[0], "weight", 80),
        lambda m: setattr(m.shares[0], "weight", -10),
        lambda m: setattr(m.shares[0], "replicas", 65),
        lambda m: m.shares[0].leaving.extend(f"r-{number}" for number in range(65)),
        lambda m: setattr(m.shares[0], "digest", m.shares[1].digest),
        lambda m: setattr(m.shares[0], "digest", "sha256:../.."),
    ):
        message = decision()
        spoil(message)
        with pytest.raises(Invalid, match="cannot be taken"):
            read_decision(message)


def test_whatever_a_host_is_started_with_is_part_of_its_variant() -> None:
    variants = {
        variant_of(PositionSpec(), "a"),
        variant_of(PositionSpec(), "b"),
        variant_of(PositionSpec(resources=Resources(cpu_millis=500)), "a"),
        variant_of(PositionSpec(resources=Resources(memory_bytes=500)), "a"),
    }
    assert len(variants) == 4
    assert variant_of(PositionSpec(replicas=Replicas(min=2)), "a") in variants


def test_an_older_spec_of_a_position_another_one_of_its_name_or_its_return_sets_it_back() -> None:
    held = item(assignment(generation=3))
    assert sets_back(item(assignment(generation=2)), held)
    assert sets_back(item(assignment(generation=9, uid="7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002")), held)
    assert sets_back(item(assignment(generation=3)), item(assignment(generation=3, deleting=True)))
    assert not sets_back(item(assignment(generation=3, deleting=True)), held)
    assert not sets_back(item(assignment(generation=3)), held)
    assert not sets_back(item(assignment(generation=4)), held)
    assert not sets_back(Item(POSITION, 7, b"\xff no message"), held)
