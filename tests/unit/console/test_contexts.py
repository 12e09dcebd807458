"""Which platform is meant, and that its token is nobody else's."""

import json
import stat
from pathlib import Path

import pytest

from console import contexts
from console.contexts import Context
from tests.unit.console.conftest import Run
from waypost.errors import Invalid, NotFound

HOME = Context("home", "127.0.0.1:7600", "PEM", "wp1_secret", "/tmp/home")
SITE = Context("site", "site.example:7600", "", "wp1_other")


def test_files_with_tokens_are_readable_by_their_owner_only(configuration: Path) -> None:
    contexts.save(HOME)
    contexts.use("home")
    path = configuration / "contexts" / "home.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert contexts.read(path) == HOME


def test_the_flag_wins_over_the_environment_and_that_over_the_current_one(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for context in (HOME, SITE):
        contexts.save(context)
    contexts.use("home")
    assert contexts.select(None) == HOME
    monkeypatch.setenv("WAYPOST_CONTEXT", "site")
    assert contexts.select(None) == SITE
    assert contexts.select("home") == HOME
    contexts.write(tmp_path / "context.json", HOME)
    assert contexts.select(str(tmp_path / "context.json")) == HOME


def test_the_configuration_follows_the_desktops_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(contexts.CONFIGURATION_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert contexts.configuration_directory() == tmp_path / "waypost"
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert contexts.configuration_directory() == tmp_path / ".config" / "waypost"


def test_what_is_no_context_is_named(configuration: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no context at"):
        contexts.use("nowhere")
    with pytest.raises(Invalid, match="cannot name a context"):
        contexts.named("../x")
    (tmp_path / "broken.json").write_text('{"name": 1}')
    with pytest.raises(Invalid, match="is not a context"):
        contexts.read(tmp_path / "broken.json")


def test_the_commands_never_show_the_token(waypost: Run) -> None:
    contexts.save(HOME)
    assert waypost("context", "use", "home")[0] == 0
    for arguments in (("list",), ("show",), ("list", "-o", "json"), ("show", "-o", "json")):
        code, out, _ = waypost("context", *arguments)
        assert code == 0
        assert "home" in out
        assert "wp1_secret" not in out
    assert json.loads(waypost("context", "show", "-o", "json")[1])["current"] is True


def test_a_platform_elsewhere_is_added_used_and_forgotten(waypost: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wp1_other\n")
    assert (
        waypost("context", "add", "site", "--address", "site.example:7600", "--token-file", str(tmp_path / "token"))[0]
        == 0
    )
    assert waypost("context", "use", "site")[0] == 0
    assert contexts.select(None) == SITE
    assert waypost("context", "remove", "site")[0] == 0
    assert contexts.current() is None
    assert waypost("context", "use", "site")[0] == 3
