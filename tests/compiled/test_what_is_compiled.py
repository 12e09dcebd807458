"""What the wheels promise to be compiled, is: else all that runs beside this would prove nothing about it."""

import importlib
import tomllib
from pathlib import Path

import pytest

from inference_host import running

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {ROOT: ROOT, ROOT / "sdk/python": ROOT / "sdk/python/src"}
"""Where their packages lie."""


def modules() -> list[str]:
    found = []
    for project, packages in PROJECTS.items():
        content = tomllib.loads((project / "pyproject.toml").read_text())
        for pattern in content["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]:
            path = project / pattern.removeprefix("/")
            assert path.exists(), f"{pattern} is no file"
            for file in [path] if path.is_file() else path.rglob("*.py"):
                found.append(".".join(file.relative_to(packages).with_suffix("").parts).removesuffix(".__init__"))
    return sorted(found)


@pytest.mark.parametrize("module", modules())
def test_it_is_compiled(module: str) -> None:
    file = importlib.import_module(module).__file__
    assert file is not None
    assert file.endswith(".so")


def test_a_host_says_so() -> None:
    assert running.is_compiled()
