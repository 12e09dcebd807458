"""docs/scaling.md: what it says holds where a spec says nothing is what holds."""

import re

import pytest

from console import specs
from console.placement import scaling_targets
from control_plane.domain.check import check_position
from position_monitor.convert import autoscaling_from
from tests.docs.pages import ROOT, blocks, rows
from waypost.api.control.v1.position_pb2 import PositionSpec, ScalingTargets

PAGE = (ROOT / "docs/scaling.md").read_text()


def described() -> specs.Document:
    (block,) = blocks(PAGE, "yaml")
    (document,) = specs.load(block, "docs/scaling.md")
    return document


def test_the_spec_that_is_shown_can_be_applied() -> None:
    check_position(described().resource)


def test_the_spec_that_is_shown_is_what_holds_where_a_spec_says_nothing() -> None:
    shown: PositionSpec = described().resource.spec
    silent = PositionSpec(replicas=shown.replicas)
    assert autoscaling_from(shown) == autoscaling_from(silent)


def test_every_target_is_in_the_table() -> None:
    assert {row.names[0] for row in rows(PAGE)} == set(ScalingTargets.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("text", re.findall(r"--scale-on (\S+)", PAGE))
def test_targets_of_commands_are_understood(text: str) -> None:
    assert scaling_targets([text]).ListFields()
