"""The docstring of a package names its modules, all of them and no others."""

from pathlib import Path

import pytest

from tests.docs.package_maps import entries, modules, packages
from tests.docs.syntax import ROOT

PACKAGES = [package for package in packages() if len(modules(package)) > 1]


def the_name(package: Path) -> str:
    return ".".join(package.relative_to(ROOT).parts)


@pytest.mark.parametrize("package", PACKAGES, ids=the_name)
def test_the_map_names_every_module(package: Path) -> None:
    named = {name for entry in entries(package) for name in (*entry.names, *entry.in_brackets)}
    assert modules(package) - named == set(), f"modules that the docstring of {the_name(package)} leaves out"


@pytest.mark.parametrize("package", PACKAGES, ids=the_name)
def test_the_map_names_nothing_else(package: Path) -> None:
    named = [name for entry in entries(package) for name in entry.names]
    folders = {path.name for path in package.iterdir() if path.is_dir()}  # some hold no modules: starters/
    assert set(named) - modules(package) - folders == set()
    assert len(named) == len(set(named)), "each is explained once"
