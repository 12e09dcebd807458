"""Settings: which origin wins, and what people are told when they are wrong."""

from pathlib import Path
from typing import Annotated

import pytest

from mesh.settings import Positional, Settings, dump_toml, load
from waypost.errors import Invalid


class ToySettings(Settings):
    """A toy."""

    model: Annotated[Path | None, Positional()] = None
    """What to serve."""
    port: int = 7600
    """Port to listen on; 0 lets the kernel choose."""
    name: str = "toy"
    """What it calls itself."""
    loud: bool = False
    """Say more."""
    tag: tuple[str, ...] = ()
    """May be given several times."""
    from_: str = ""
    """Called after a keyword of Python."""


def toy(*argv: str) -> ToySettings:
    return load(ToySettings, argv, prog="toy", env_prefix="TOY_")


def test_a_flag_beats_the_environment_beats_a_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "toy.toml"
    assert toy().port == 7600
    file.write_text("port = 1\nname = 'file'\n")
    assert toy("--settings", str(file)).port == 1
    monkeypatch.setenv("TOY_PORT", "2")
    assert toy("--settings", str(file)).port == 2
    settings = toy("--settings", str(file), "--port", "3", "some.onnx", "--loud", "--tag", "a", "--tag", "b")
    assert settings == ToySettings(model=Path("some.onnx"), port=3, name="file", loud=True, tag=("a", "b"))


def test_a_wrong_value_names_the_setting_its_value_and_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_PORT", "many")
    with pytest.raises(Invalid, match=r"--port was given 'many' \(environment\)"):
        toy()


def test_an_unknown_key_of_a_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(Invalid, match="unknown setting 'prot'"):
        toy("--settings", str(file))


def test_an_unknown_flag_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toy("--prot", "1")
    assert "--prot" in capsys.readouterr().err


def test_help_is_the_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toy("--help")
    assert "Port to listen on; 0 lets the kernel choose. [default: 7600]" in " ".join(capsys.readouterr().out.split())


def test_settings_can_be_printed_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toy("--port", "9", "--print-settings")
    printed = capsys.readouterr().out
    assert "port = 9  (flag)" in printed
    assert "name = toy  (default)" in printed


def test_dumped_settings_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(dump_toml({"port": 5, "name": 'a "quoted" \\ name', "loud": True}))
    assert toy("--settings", str(file)) == ToySettings(port=5, name='a "quoted" \\ name', loud=True)


def test_a_setting_may_be_called_as_a_keyword_of_python_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy("--from", "here").from_ == "here"
    monkeypatch.setenv("TOY_FROM", "there")
    assert toy().from_ == "there"
