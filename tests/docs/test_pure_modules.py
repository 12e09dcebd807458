"""`pure` is a promise wherever a module says it of itself, and import-linter holds it (the contract in .importlinter).

The word therefore means this and nothing else in a module's docstring, and in a map of modules.
"""

import configparser
import re
from pathlib import Path

import pytest

from tests.docs.package_maps import docstring, entries, is_of_a_map, packages
from tests.docs.syntax import PACKAGES, ROOT, SDK, files

PURE = re.compile(r"\bpure\b", re.IGNORECASE)


def contract() -> list[str]:
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    return linter["importlinter:contract:pure"]["source_modules"].split()


def module_of(path: str) -> str:
    return path.removeprefix(SDK.removesuffix("waypost")).removesuffix(".py").replace("/", ".")


def said_of_itself(path: str) -> str:
    """The docstring of a module, without the map of the modules below it."""
    return "\n".join(line for line in docstring(ROOT / path).splitlines() if not is_of_a_map(line))


SAY_SO = {module_of(path).removesuffix(".__init__") for path in files(*PACKAGES) if PURE.search(said_of_itself(path))}


def below(module: str, packages: set[str]) -> bool:
    """Whether it is one of them or stands below one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("module", sorted(SAY_SO))
def test_a_module_that_calls_itself_pure_is_held_to_it(module: str) -> None:
    assert below(module, set(contract()))


@pytest.mark.parametrize("module", contract())
def test_a_module_that_is_held_to_be_pure_says_so(module: str) -> None:
    assert below(module, SAY_SO)


@pytest.mark.parametrize("package", list(packages()), ids=lambda package: package.name)
def test_maps_call_those_modules_pure_that_are(package: Path) -> None:
    path = ".".join(package.relative_to(ROOT).parts)
    pure = {name for entry in entries(package) if PURE.search(entry.what) for name in entry.names}
    assert {name for name in pure if not below(f"{path}.{name}", set(contract()))} == set()


def test_each_stands_in_the_contract_once() -> None:
    assert len(contract()) == len(set(contract()))
