"""What `waypost host init` writes, and when it writes nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference_host.model.manifest import read
from inference_host.workbench.init import PYTHON, STARTERS, SUFFIX, run
from inference_host.workbench.samples import parsed
from inference_host.workbench.settings import InitSettings
from waypost.errors import AlreadyExists, Invalid, MeshError, NotFound, Precondition

README_LINES_MAX = 14


def init(directory: Path, from_: str = PYTHON) -> Path:
    assert run(InitSettings(directory=directory, from_=from_)) == 0
    return directory


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_package_of_one_function_is_what_a_host_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = read(init(tmp_path / "level"))
    assert (package.model, package.template_class) == ("level", "template:Level")
    assert files(tmp_path / "level") == {"template.py", "samples.json", "test_template.py", "README.md"}
    assert "waypost host test" in capsys.readouterr().out


def test_its_first_sample_is_answered_as_it_says(tmp_path: Path) -> None:
    directory = init(tmp_path / "level")
    spec = importlib.util.spec_from_file_location("level_template", directory / "template.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    template = module.Level()
    template.load(None)
    sample = parsed((directory / "samples.json").read_bytes())[0]
    prepared = template.preprocess({tensor.name: tensor.array for tensor in sample.inputs})
    answer = template.postprocess(template.predict(prepared))
    (expected,) = sample.expected
    assert answer[expected.name].dtype == np.float32
    np.testing.assert_allclose(answer[expected.name], expected.array, rtol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed: `make test` has it")
@pytest.mark.parametrize("kind", [folder.name for folder in STARTERS.iterdir() if folder.is_dir()])
def test_what_it_writes_is_formatted_and_linted_and_short(tmp_path: Path, kind: str) -> None:
    for source in (STARTERS / kind).iterdir():
        (tmp_path / source.name.removesuffix(SUFFIX)).write_text(source.read_text())
    (tmp_path / "ruff.toml").write_text(
        'line-length = 120\nlint.select = ["B", "C4", "E", "F", "I", "N", "RET", "UP"]\n'
    )
    for verb in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *verb, "--no-cache", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    assert len((tmp_path / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for directory, error in ((tmp_path, AlreadyExists), (tmp_path / "mine.txt", AlreadyExists)):
        with pytest.raises(error) as refused:
            init(directory)
        assert refused.value.reason == "NOT_EMPTY"
    assert files(tmp_path) == {"mine.txt"}


def test_an_empty_directory_may_be_filled(tmp_path: Path) -> None:
    assert "template.py" in files(init(tmp_path))


@pytest.mark.parametrize(
    ("from_", "error"),
    [("pytorch", Invalid), ("model.pt", Invalid), ("onnx", Invalid), ("missing.onnx", NotFound)],
)
def test_a_beginning_that_is_none_leaves_nothing(tmp_path: Path, from_: str, error: type[MeshError]) -> None:
    with pytest.raises(error) as refused:
        init(tmp_path / "new", from_)
    assert refused.value.hint
    assert not (tmp_path / "new").exists()


def test_a_library_that_is_missing_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_host.workbench.init.NEEDS", ("surely-not-installed",))
    with pytest.raises(Precondition) as refused:
        init(tmp_path / "new", "sklearn")
    assert refused.value.reason == "MISSING_LIBRARY"
    assert not (tmp_path / "new").exists()
