"""Which reasons the code gives: read from its syntax trees, so that none is forgotten on the pages that explain them.

A reason is nearly always written where the error is made: `NotFound("NO_SUCH_FILE", ...)`. The few places that compute
one, or pass on what somebody else said, are listed in `computed` with what comes out there. An error that is made
anywhere else without a literal reason fails the test until it is listed.

Fakes are left out: nobody meets them but tests.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache

from control_plane.domain.types import HeldReason
from control_plane.services import families
from control_plane.services.writing import Family
from control_plane.store.resources import CREDENTIAL, ROLE_BINDING, SESSION, USER, WATCHED
from inference_host.model import onnx
from inference_host.serving import batching
from tests.docs.syntax import SDK, called, calls, files, literals, tree
from waypost import errors

Reasons = dict[str, set[str]]
"""Reason -> names of the codes that it comes with."""

CODES = {kind.__name__: kind.code.name for kind in errors.BY_CODE.values()}

PASSED_ON: Reasons = {}
"""Nothing new: it is listed where it was made."""


@cache
def computed() -> dict[tuple[str, str], Reasons]:
    """(file, expression of the reason) -> what it can be."""
    not_deployable = {reason.value for reason in HeldReason if reason.value.startswith("VERSION_")}
    waiting = literals("console/rollout.py", "_failed", 0) | literals("console/cli/deploy.py", "Verdict", 1)
    made = [family.kind.kind for family in vars(families).values() if isinstance(family, Family)]
    return {
        (f"{SDK}/errors.py", "reason"): PASSED_ON,
        (f"{SDK}/rpc/status.py", "reason"): PASSED_ON,
        (f"{SDK}/rpc/status.py", "code.name"): PASSED_ON,  # of a peer that is none of ours: said once on the page
        ("mesh/link.py", "reason"): _all(literals("mesh/link_core.py", "Broken", 0), "FAILED_PRECONDITION"),
        ("control_plane/registry/check.py", "reason"): PASSED_ON,
        ("control_plane/services/credential.py", "error.reason"): PASSED_ON,
        ("control_plane/services/position.py", "reason"): _all(
            not_deployable - {HeldReason.VERSION_REJECTED},  # it is deployed all the same, and its status says so
            "FAILED_PRECONDITION",
        ),
        ("control_plane/services/writing.py", "reason"): _all(_each("{}_EXISTS", made), "ALREADY_EXISTS"),
        ("control_plane/services/writing.py", "f'{family.kind.kind.upper()}_IN_USE'"): _all(
            _each("{}_IN_USE", _with_blockers()), "FAILED_PRECONDITION"
        ),
        ("control_plane/store/resources.py", "f'{kind.kind.upper()}_NOT_FOUND'"): _all(
            _each("{}_NOT_FOUND", [*WATCHED, CREDENTIAL.kind, ROLE_BINDING.kind, SESSION.kind, USER.kind]), "NOT_FOUND"
        ),
        ("edge_agent/gateways/envoy/process.py", "error.reason"): PASSED_ON,
        ("inference_host/serving/batching.py", "OVERLOADED"): _all({batching.OVERLOADED}, "UNAVAILABLE"),
        ("inference_host/model/onnx.py", "reason"): _all(
            (reason for _, reason, _ in onnx._REFUSALS), "FAILED_PRECONDITION"
        ),
        ("inference_host/model/onnx.py", "_OTHERWISE[0]"): _all(onnx._OTHERWISE[:1], "FAILED_PRECONDITION"),
        ("console/client.py", "error.reason"): PASSED_ON,
        ("console/cli/specs.py", "error.reason"): PASSED_ON,
        ("console/cli/deploy.py", "verdict.reason"): {
            **_all(waiting, "FAILED_PRECONDITION"),
            **_all(["NOT_IN_TIME"], "DEADLINE_EXCEEDED"),
        },
    }


def made_in(package: str) -> Reasons:
    """The reasons of all errors that a package makes. KeyError: list the expression in `computed`."""
    found: Reasons = {}
    for path in files(package):
        for call, code in _error_calls(tree(path)):
            reason = call.args[0]
            given = (
                {reason.value: {code}} if isinstance(reason, ast.Constant) else computed()[path, ast.unparse(reason)]
            )
            for each, codes in given.items():
                found.setdefault(str(each), set()).update(codes)
    return found


def _error_calls(module: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call that makes an error, with the name of its code; empty where the class is a value."""
    for node in _outside_fakes(module):
        if isinstance(node, ast.ClassDef):
            yield from _own_errors(node)
        elif isinstance(node, ast.Call) and node.args:
            if (name := called(node)) in CODES:
                yield node, CODES[name]
            elif _class_is_a_value(node):
                yield node, ""


def _own_errors(class_: ast.ClassDef) -> Iterator[tuple[ast.Call, str]]:
    """`super().__init__("REVISION_CONFLICT", ...)` in a subclass of one of the errors."""
    bases = [base.id for base in class_.bases if isinstance(base, ast.Name) and base.id in CODES]
    for node in ast.walk(class_) if bases else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            yield node, CODES[bases[0]]


def _class_is_a_value(call: ast.Call) -> bool:
    """`kind(reason, ...)` and `type(error)(error.reason, ...)`."""
    given = [type(each) for each in call.args[:2]]
    match ast.unparse(call.func):
        case "kind":
            return len(given) > 1 and given[0] in (ast.Name, ast.Attribute)
        case "type(error)":
            return len(given) > 1 and given[0] is ast.Attribute
    return False


def _outside_fakes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.ClassDef) and child.name.startswith("Fake")):
            yield child
            yield from _outside_fakes(child)


def _with_blockers() -> Iterator[str]:
    """Kinds of resources that cannot be deleted while something stands upon them."""
    for _, call in calls(("delete",), "control_plane/services"):
        if any(keyword.arg == "blockers" for keyword in call.keywords):
            yield getattr(families, ast.unparse(call.args[1])).kind.kind


def _each(form: str, kinds: Iterable[str]) -> list[str]:
    return [form.format(kind.upper()) for kind in kinds]


def _all(reasons: Iterable[str], code: str) -> Reasons:
    return {reason: {code} for reason in reasons}
