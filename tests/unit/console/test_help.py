"""Every command explains itself, quickly, and costs a component nothing."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from console import cli
from console.cli.root import ENTRIES, app

HEAVY = {"grpc", "google.protobuf", "numpy", "yaml", "rich", "pydantic"}
"""Imports that help must not wait for: 0.17 s were measured on two idle cores, and gRPC alone takes as long."""


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group, with its words."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield f"{path} {name}".strip(), command
        if hasattr(command, "list_commands"):
            yield from commands(command, f"{path} {name}".strip())


EVERY = dict(commands(get_command(app)))


@pytest.mark.parametrize("words", EVERY)
def test_every_command_and_every_option_has_help(words: str) -> None:
    command = EVERY[words]
    assert command.help, f"`waypost {words}` says nothing about itself"
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} of `waypost {words}` says nothing about itself"


@pytest.mark.parametrize("name", ENTRIES)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    assert EVERY[name].help.split("\n")[0].startswith(ENTRIES[name].help.rstrip("."))


def test_what_the_issue_asks_for_is_there() -> None:
    verbs = {"create", "get", "list", "update", "delete"}
    for group in ("project", "application", "model", "position", "edge-server"):
        assert verbs <= {words.split()[1] for words in EVERY if words.startswith(f"{group} ")}
    assert {"up", "down", "deploy", "apply", "diff", "export", "status", "watch", "infer", "logs", "events"} <= set(
        EVERY
    )
    assert {"application token create", "model version list", "edge-server join-token", "context use"} <= set(EVERY)


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys; from console.cli import main; main(['--help']); sys.exit(bool({HEAVY} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Components, one each, as production runs them:" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_component_is_dispatched_without_the_command_line_for_people() -> None:
    code = (
        "import sys; from console.cli import main\n"
        "try: main(['training', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('typer' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: waypost training" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["statsu"], "there is no command 'statsu'; did you mean 'status'?", "`waypost --help` shows how it is used"),
        (["project", "get"], "Missing argument 'NAME'.", "`waypost project get --help` shows how it is used"),
        (
            ["-o", "json", "backup", "file"],
            "Invalid value: `waypost backup` takes no --output before its name",
            "`waypost backup --help` shows how it is used",
        ),
        (["status", "--ouput", "json"], "No such option: --ouput", "`waypost status --help` shows how it is used"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_where_to_read(
    arguments: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {error}")
    assert said.endswith(f"\n\nhint: {hint}\n")


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [(["status"], "console.cli.root", "console"), (["agent", "--help"], "edge_agent.app", "agent")],
)
def test_an_installation_without_what_a_command_needs_says_how_to_get_it(
    arguments: list[str],
    missing: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert cli.main(arguments) == 1
    assert f"hint: install what it needs: pip install 'waypost-platform[{extra}]'" in capsys.readouterr().err
