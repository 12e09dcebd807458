"""The `waypost` command.

A component (`waypost host run model.onnx`) is handed its arguments before anything else is loaded, so that the command
costs a component nothing: what runs is what `python -m inference_host run model.onnx` would run. Everything else is a
command for people, in a module per group, found by `root`.

    root       which commands there are, and in which module
    session    what every command has in common: which platform, how to print, how to fail
    verbs      the verbs that every kind of resource has
    options    what a position should be, as options
    rotation   replacing a token by another one

    applications, edge_servers, models, positions, projects, roles, subscriptions, users    a kind of resource each
    tokens, authority, audit      credentials of programs, the root of all certificates, who changed what
    deploy, watch, infer, logs    a position: given a version, looked at, tried
    status, events                the whole platform
    specs                         `apply`, `diff` and `export`
    login, contexts               who calls, and which platform
    platform, simulate            `up` and `down`; a fleet that is not there

    reference                     the generated pages of docs/reference
      access_page, settings_page  two of them
"""

import importlib
import sys
from collections.abc import Sequence

COMPONENTS = {
    "control-plane": "control_plane.app:main",
    "backup": "control_plane.backups.commands:backup",
    "restore": "control_plane.backups.commands:restore",
    "agent": "edge_agent.app:main",
    "monitor": "position_monitor.app:main",
    "host": "inference_host.app:main",
    "training": "training_platform.app:main",
}
"""Word on the command line -> function of its arguments that returns the exit code."""

EXTRAS = {"backup": "control-plane", "restore": "control-plane"}
"""Extra of the distribution, where that is not called as the word."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMPONENTS:
        return run_component(arguments[0], arguments[1:])
    try:
        from console.cli.root import run
    except ModuleNotFoundError as error:
        return _not_installed("waypost", "console", error)
    return run(arguments)


def run_component(word: str, arguments: Sequence[str]) -> int:
    """Runs one component in this process, until it ends."""
    try:
        module, _, function = COMPONENTS[word].partition(":")
        run = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        return _not_installed(f"waypost {word}", EXTRAS.get(word, word), error)
    return int(run(list(arguments)))


def _not_installed(command: str, extra: str, error: ModuleNotFoundError) -> int:
    print(
        f"error: this installation cannot run `{command}`: {error}\n\n"
        f"hint: install what it needs: pip install 'waypost-platform[{extra}]'",
        file=sys.stderr,
    )
    return 1
