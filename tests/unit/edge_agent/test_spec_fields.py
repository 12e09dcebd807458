"""What a change of each field of a position's spec means for what runs: every field is in one of three classes.

    REPLACES_HOSTS   hosts are started with it: others are started, and these end   (assignments.variant_of)
    WAITS            hosts stay, and yet it is a change that a maintenance window may hold back   (changes.choose)
    AT_ONCE          is taken on whenever it comes: nothing that runs, nor where it is called, depends on it

A field of a message in the spec belongs to the class of that message.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from edge_agent.drivers.base import Failure
from edge_agent.position.assignments import Assignment, assignment_of
from edge_agent.position.changes import choose
from edge_agent.position.diff import shape
from edge_agent.position.mode import FOLLOW
from tests.unit.edge_agent.position.test_changes import MONDAY, WINDOWS
from tests.unit.edge_agent.rig import assignment, model_version
from waypost.api.control.v1.position_pb2 import PositionSpec
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment

REPLACES_HOSTS = {"model_version", "serve_as", "resources", "software_version"}
WAITS = {"replicas", "endpoint"}
AT_ONCE = {
    "edge_server",  # a move: it is no longer assigned here, and no rule of this machine keeps it
    "on_disconnect",  # a rule for when nobody is heard
    "autoscaling",  # the monitor's business, which starts and ends hosts by load at any time
}


def leaves(message: Message, *above: str) -> Iterator[tuple[str, ...]]:
    """Paths of all fields that can be set, down to numbers, texts, durations and lists."""
    for name in message.DESCRIPTOR.fields_by_name:
        value = getattr(message, name)
        if isinstance(value, Message) and not isinstance(value, Duration):
            yield from leaves(value, *above, name)
        else:
            yield (*above, name)


PATHS = list(leaves(PositionSpec()))


def changed(message: Any, path: tuple[str, ...]) -> None:
    """Another value at the path, whatever stands there."""
    *above, name = path
    for each in above:
        message = getattr(message, each)
    value = getattr(message, name)
    if hasattr(value, "add"):
        value.add()
    elif hasattr(value, "append"):
        value.append("another")
    elif isinstance(value, Duration):
        value.FromSeconds(77)
    elif isinstance(value, str):
        setattr(message, name, "0.0.9")  # a version of the software too
    else:
        setattr(message, name, type(value)(value + 2))  # True, where it is a bool


def after_a_change(path: tuple[str, ...]) -> tuple[Assignment, Assignment]:
    before, after = PositionAssignment(), PositionAssignment()
    before.CopyFrom(assignment())
    before.spec.endpoint.dedicated_port = False
    after.CopyFrom(before)
    changed(after.spec, path)
    if path == ("model_version",):  # the control plane sends the version with its name
        after.model_version.CopyFrom(model_version("2"))
    assert after.spec != before.spec
    return assignment_of(before), assignment_of(after)


def hosts_of(wanted: Assignment) -> str:
    return shape(wanted.wanted.version.digest, wanted.wanted.variant)


def is_held_back(wanted: Assignment, last: Assignment) -> bool:
    """Outside of the windows of an edge server, at a position in service."""
    choice = choose(
        wanted,
        last,
        served=True,
        rules=WINDOWS,
        mode=FOLLOW,
        installed=lambda software: True,
        missing=lambda software: Failure("SOFTWARE_NOT_INSTALLED", software),
        now_s=MONDAY,
    )
    return choice.held is not None


def test_every_field_is_in_one_class() -> None:
    classes = (REPLACES_HOSTS, WAITS, AT_ONCE)
    assert set().union(*classes) == set(PositionSpec.DESCRIPTOR.fields_by_name)
    assert sum(map(len, classes)) == len(PositionSpec.DESCRIPTOR.fields)


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_change_of_the_field_means_what_its_class_says(path: tuple[str, ...]) -> None:
    last, wanted = after_a_change(path)
    assert (hosts_of(wanted) != hosts_of(last)) is (path[0] in REPLACES_HOSTS)
    assert is_held_back(wanted, last) is (path[0] in REPLACES_HOSTS | WAITS)
