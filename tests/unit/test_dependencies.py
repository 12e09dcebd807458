"""Whatever is imported is declared, where it is imported, and whatever is declared is imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mesh import version

ROOT = Path(__file__).parents[2]
SDK = "sdk/python/src/waypost"
EXTRAS = {
    "control_plane": ("control-plane", "postgresql"),
    "edge_agent": ("agent",),
    "position_monitor": ("monitor",),
    "inference_host": ("host",),
    "training_platform": ("training",),
    "console": ("console",),
    "examples": ("demo",),
}
"""Package -> the extras that it needs besides what every component has."""

OURS = {"waypost", "mesh", "tests", "tools", "series", "train", "xapp", *EXTRAS}
GOOGLE = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "google.api": "googleapis-common-protos",
}
DRIVER = re.compile(r"(?:sqlite|postgresql)\+(\w+)")
DISTRIBUTIONS = {"grpc_tools": ["grpcio-tools"], **packages_distributions()}
"""Top-level package -> distributions; that of tools/ need not be installed where tests run."""


def imported(directory: str) -> set[str]:
    """Distributions that the modules of a directory import, at the top or on the way."""
    modules = {module for text in _texts(directory) for module in _modules(ast.parse(text))}
    return {_distribution(module) for module in modules} - {""}


def drivers(directory: str) -> set[str]:
    """Those that SQLAlchemy imports because a URL names them."""
    return {driver for text in _texts(directory) for driver in DRIVER.findall(text)}


def _texts(directory: str) -> list[str]:
    """Of its modules, but for what is run by hand, in environments of its own."""
    paths = (ROOT / directory).rglob("*.py")
    return [path.read_text() for path in paths if "bench" not in path.relative_to(ROOT).parts]


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def _distribution(module: str) -> str:
    """Empty for what is ours or Python's."""
    top, _, rest = module.partition(".")
    if top in OURS or top in sys.stdlib_module_names:
        return ""
    if top == "google":
        return GOOGLE[f"google.{rest.partition('.')[0]}"]
    return DISTRIBUTIONS.get(top, [top])[0].lower().replace("_", "-")


def project(path: str) -> tuple[set[str], dict[str, set[str]]]:
    """(dependencies, dependencies by extra) of a pyproject.toml, without our own distributions."""
    table = tomllib.loads((ROOT / path).read_text())["project"]
    return _names(table["dependencies"]), {
        extra: _names(required) for extra, required in table.get("optional-dependencies", {}).items()
    }


def _names(requirements: Iterable[str]) -> set[str]:
    names = {re.split(r"[\[<>=,; ]", requirement)[0].lower() for requirement in requirements}
    return names - {"waypost", "waypost-platform"}


BASE, BY_EXTRA = project("pyproject.toml")


def test_the_sdk_declares_what_it_imports() -> None:
    assert project("sdk/python/pyproject.toml")[0] == imported(SDK)


def test_the_platform_declares_what_the_mesh_or_every_component_imports() -> None:
    components = [imported(package) for package in EXTRAS if package != "examples"]
    assert imported("mesh") | set.intersection(*components) == BASE


@pytest.mark.parametrize("package", EXTRAS)
def test_an_extra_declares_what_its_component_imports_besides(package: str) -> None:
    assert set().union(*(BY_EXTRA[extra] for extra in EXTRAS[package])) == (imported(package) | drivers(package)) - BASE


def test_tests_and_tools_import_nothing_that_is_not_declared() -> None:
    assert imported("tests") | imported("tools") <= BASE.union(*BY_EXTRA.values())


def test_what_only_tests_need_is_used_by_them() -> None:
    by_options = {"pytest-xdist"}  # of the Makefile
    assert BY_EXTRA["test"] <= imported("tests") | by_options


def test_the_version_is_the_same_wherever_it_stands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == version.VERSION
