"""Reading the code for the tests of the pages: its files, as syntax trees, and what its calls are given."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SDK = "sdk/python/src/waypost"
PACKAGES = (
    SDK,
    "mesh",
    "control_plane",
    "edge_agent",
    "position_monitor",
    "inference_host",
    "training_platform",
    "console",
)


def files(*places: str) -> Iterator[str]:
    """The Python of packages (or single files), but for fakes and generated code: paths from the root of the tree."""
    for place in places:
        found = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        paths = (str(path.relative_to(ROOT)) for path in found if "fake" not in path.name)
        yield from (path for path in paths if not path.startswith(f"{SDK}/api/"))


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def calls(functions: tuple[str, ...], *places: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of functions of these names, with the file that each stands in."""
    for path in files(*places):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and called(node) in functions:
                yield path, node


def called(call: ast.Call) -> str:
    """The name that is called, without what stands before its dot."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def argument(call: ast.Call, position: int, keyword: str = "") -> str:
    """A string that is given; empty where none is there, or no literal."""
    by_name = (each.value for each in call.keywords if each.arg == keyword)
    given = next(by_name, call.args[position] if len(call.args) > position else None)
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else ""


def literals(path: str, function: str, position: int) -> set[str]:
    """All strings that stand at this position of the calls of `function` in a file."""
    return {argument(call, position) for _, call in calls((function,), path)} - {""}
