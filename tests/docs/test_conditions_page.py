"""docs/reference/conditions.md explains every state, condition, reason and event that the code gives, and no other."""

import ast
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from console.rollout import NEEDS_A_PERSON
from control_plane import events
from control_plane.domain.types import HeldReason
from control_plane.identity import joining
from tests.docs import reasons
from tests.docs.pages import REFERENCE, Row, rows
from tests.docs.syntax import PACKAGES, argument, called, calls, files, literals, tree
from waypost.api.control.v1 import edge_server_pb2, model_pb2, position_pb2

PAGE = (REFERENCE / "conditions.md").read_text()
ROWS = list(rows(PAGE))
JUDGES = ("control_plane", "edge_agent")
"""Packages that make conditions."""

OF_AN_EDGE_SERVER = " of an edge server"
CAMEL_CASE = re.compile(r"([A-Z][a-z]+)+")


def below(*headings: str) -> list[Row]:
    return [row for row in ROWS if row.section[: len(headings)] == headings]


def names(found: list[Row]) -> list[str]:
    return [row.names[0] for row in found]


def is_condition(row: Row) -> bool:
    return row.section[-1].startswith("`")


# -- states


STATES = [
    (("Positions", "States of a position"), position_pb2, "PositionState"),
    (("Positions", "Replicas"), position_pb2, "ReplicaState"),
    (("Edge servers", "States of an edge server"), edge_server_pb2, "EdgeServerState"),
    (("Model versions", "States of a model version"), model_pb2, "ModelVersionState"),
]


@pytest.mark.parametrize(("section", "module", "enum"), STATES)
def test_every_state_is_explained(section: Sequence[str], module: ModuleType, enum: str) -> None:
    values: Any = module.DESCRIPTOR.enum_types_by_name[enum].values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    assert names(below(*section)) == [value.name.removeprefix(prefix) for value in values[1:]]


# -- conditions


def types_made() -> set[str]:
    """Literals where conditions are made, and words like them that stand as constants at the top of a module."""
    found = {argument(call, 0, "type") for _, call in calls(("Condition", "condition", "failed"), *JUDGES)}
    for path in (path for package in JUDGES for path in files(package)):
        for node in tree(path).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                found |= {str(each.value) for each in node.value.elts if isinstance(each, ast.Constant)}
    return {word for word in found if CAMEL_CASE.fullmatch(word)}


def reasons_made() -> set[str]:
    """Of conditions, but for those that pass on what an error says."""
    found = {reason.value for reason in HeldReason}
    found |= {argument(call, 0, "reason") for _, call in calls(("Failure",), "edge_agent")}
    found |= {argument(call, 5, "reason") for _, call in calls(("Condition", "condition"), *JUDGES)}
    return found - {""}


def test_every_type_of_condition_has_a_heading_and_no_other() -> None:
    headings = {row.section[-1] for row in ROWS if is_condition(row)}
    assert {heading.removesuffix(OF_AN_EDGE_SERVER).strip("`") for heading in headings} == types_made()


def test_every_reason_of_a_condition_is_explained() -> None:
    documented = set(names([row for row in ROWS if is_condition(row)]))
    assert reasons_made() <= documented


def test_every_reason_on_the_page_is_one_that_the_code_gives() -> None:
    documented = set(names([row for row in ROWS if is_condition(row)]))
    errors = {reason for package in PACKAGES for reason in reasons.made_in(package)}
    assert documented <= reasons_made() | errors


def test_the_page_says_of_which_reasons_deploy_gives_up() -> None:
    judged = [row for row in below("Positions") if is_condition(row)]
    assert {row.cells[3] for row in judged} == {"waits", "gives up"}
    gives_up = {name for row in judged if row.cells[3] == "gives up" for name in row.names}
    assert gives_up == NEEDS_A_PERSON & set(names(judged))


def test_every_reason_of_a_rejection_is_explained() -> None:
    assert set(names(below("Positions", "Rejections"))) == literals("position_monitor/rollout.py", "Verdict", 1)


# -- events


RECORDERS = {"record": 3, "Told": 3, "event": 3, "_event": 3, "Note": 3, "EventRow": 4}
"""Functions that make events, with the number of arguments that tells them from others of that name."""

ORIGINS = {
    "control_plane/services/edge_server.py",
    "control_plane/services/position.py",
    "control_plane/services/position_live.py",
    "control_plane/identity/joining.py",
    "control_plane/reconcile/loop.py",
    "control_plane/registry/follower.py",
    "control_plane/registry/translate.py",
    "control_plane/registry/importer.py",
    "edge_agent/reconcile/telling.py",
    "edge_agent/reconcile/worker.py",
    "position_monitor/uplink.py",
}
"""Files in which events begin: `events_made` looks at each."""

ON_THE_WAY = {
    "control_plane/events.py",
    "control_plane/fleet/session.py",
    "edge_agent/assembly.py",
    "edge_agent/links/monitors.py",
    "edge_agent/links/uplink.py",
}


def events_made() -> set[str]:
    found = {value for module in (events, joining) for name, value in vars(module).items() if name == value}
    found |= {reason.value for reason in HeldReason}  # reconcile/loop.py
    found |= upper_case_in("control_plane/registry/importer.py", "_tell")
    found |= upper_case_in("edge_agent/reconcile/crew.py", "_note_end")  # told through worker.py
    found |= literals("edge_agent/identity/renewal.py", "_tell", 0)
    for path, function in (
        ("control_plane/registry/follower.py", "Note"),
        ("control_plane/registry/translate.py", "Note"),
        ("edge_agent/reconcile/telling.py", "event"),
        ("position_monitor/uplink.py", "_event"),
    ):
        found |= literals(path, function, 1)
    return found


def upper_case_in(path: str, function: str) -> set[str]:
    """The strings in UPPER_SNAKE inside a function."""
    defined = (node for node in ast.walk(tree(path)) if getattr(node, "name", "") == function)
    strings = (str(node.value) for body in defined for node in ast.walk(body) if isinstance(node, ast.Constant))
    return {string for string in strings if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", string)}


def test_every_event_is_explained_and_no_other() -> None:
    assert set(names(below("Events"))) == events_made()


def test_events_begin_where_this_test_looks() -> None:
    found = {
        path
        for path, call in calls(tuple(RECORDERS), "control_plane", "edge_agent", "position_monitor")
        if len(call.args) + len(call.keywords) >= RECORDERS[called(call)]
    }
    assert found == ORIGINS | ON_THE_WAY
