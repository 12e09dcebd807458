"""When files count as changed, and what of a template is forgotten before it is loaded anew."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from inference_host.reload import forget, state, watched
from inference_host.settings import ENV_PREFIX, HostSettings
from mesh import settings
from waypost.errors import Invalid


def test_a_change_is_another_time_another_size_or_another_file(tmp_path: Path) -> None:
    file = tmp_path / "template.py"
    file.write_text("a = 1\n")
    before = state(tmp_path)
    assert state(tmp_path) == before
    os.utime(file, ns=(0, 1))
    touched = state(tmp_path)
    assert touched != before
    file.write_text("a = 10\n")
    os.utime(file, ns=(0, 1))
    assert state(tmp_path) != touched
    (tmp_path / "parts").mkdir()
    before = state(tmp_path)
    (tmp_path / "parts/weights.npy").write_bytes(b"x")
    assert state(tmp_path) != before


def test_what_editors_and_python_leave_behind_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "template.py").write_text("")
    before = state(tmp_path)
    (tmp_path / ".template.py.swp").write_text("")
    for folder in (".git", "__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("")
    assert state(tmp_path) == before


def test_a_single_file_is_watched_alone(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    before = state(tmp_path / "m.onnx")
    (tmp_path / "other").write_bytes(b"x")
    assert state(tmp_path / "m.onnx") == before
    (tmp_path / "m.onnx").unlink()
    assert state(tmp_path / "m.onnx") == {}


def test_modules_of_the_directory_are_forgotten_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waypost_reload_features.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("waypost_reload_features").A == 1
    forget(tmp_path)
    assert "waypost_reload_features" not in sys.modules
    assert "inference_host.reload" in sys.modules


def test_several_processes_do_not_reload() -> None:
    with pytest.raises(Invalid, match="leave --reload away, or --processes") as refused:
        settings.load(
            HostSettings, ["m.onnx", "--reload", "--processes", "2"], prog="waypost host run", env_prefix=ENV_PREFIX
        )
    assert refused.value.reason == "BAD_SETTING"


def test_only_what_is_served_by_hand_is_watched() -> None:
    assert watched(HostSettings(model=Path("m.onnx"))) == Path("m.onnx")
    for chosen in (HostSettings(), HostSettings(model=Path("m"), position_uid="uid-1")):
        with pytest.raises(Invalid):
            watched(chosen)
