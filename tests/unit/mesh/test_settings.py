"""Settings: which origin wins, and what people are told when they are wrong."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from mesh.fields import Unfit, declared, meanings
from mesh.settings import Bounds, Checked, Positional, Settings, dump_toml, load
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


def _even(value: int) -> None:
    if value % 2:
        raise ValueError("it must be even")


class StrictSettings(Settings):
    """With a rule for everything."""

    uid: str
    """Must be given."""
    share: Annotated[float, Bounds(above=0, at_most=1)] = 0.5
    """Of the whole."""
    pairs: Annotated[int, Bounds(at_least=0), Checked(_even)] = 2
    """Not one alone."""
    level: Literal["low", "high"] = "low"
    sure: bool | None = None
    weights: tuple[float, ...] = ()

    def check(self) -> None:
        if self.level == "high" and self.pairs == 0:
            raise ValueError("high needs pairs")


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


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"share": 0}, "above 0 and at most 1"),
        ({"share": "1.5"}, "above 0 and at most 1"),
        ({"share": True}, "a number"),
        ({"pairs": -2}, "at least 0"),
        ({"pairs": 3}, "even"),
        ({"pairs": 2.0}, "a whole number"),
        ({"level": "middle"}, "low or high"),
        ({"sure": "perhaps"}, "true or false"),
        ({"weights": "1,2"}, "a list"),
        ({"weights": ["heavy"]}, "a number"),
        ({"uid": 7}, "text"),
        ({"level": "high", "pairs": 0}, "high needs pairs"),
    ],
)
def test_what_does_not_fit_its_setting_is_refused_with_the_rule(given: dict[str, Any], why: str) -> None:
    with pytest.raises(Unfit, match=why):
        StrictSettings(**{"uid": "u", **given})


def test_text_is_read_as_the_type_that_is_asked_for() -> None:
    read = StrictSettings(uid="u", share="0.25", pairs="4", sure="no", weights=["1", 2])
    assert (read.share, read.pairs, read.sure, read.weights) == (0.25, 4, False, (1.0, 2.0))


def test_a_setting_without_a_default_must_be_given() -> None:
    with pytest.raises(Invalid, match="--uid was not given"):
        load(StrictSettings, [], prog="strict", env_prefix="STRICT_")


def test_rules_over_several_settings_are_told_as_such() -> None:
    with pytest.raises(Invalid, match="high needs pairs"):
        load(StrictSettings, ["--uid", "u", "--level", "high", "--pairs", "0"], prog="strict", env_prefix="STRICT_")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        StrictSettings(uid="u").share = 1.0  # type: ignore[misc]


def test_docstrings_are_kept_by_name_and_declarations_in_their_order() -> None:
    assert list(declared(StrictSettings)) == ["uid", "share", "pairs", "level", "sure", "weights"]
    assert meanings(StrictSettings) == {"uid": "Must be given.", "share": "Of the whole.", "pairs": "Not one alone."}
