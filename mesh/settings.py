"""Settings of a component: flag > environment > TOML file > default, each explained where it is declared.

    class HostSettings(Settings):
        listen: str = "127.0.0.1:8000"
        \"\"\"Where gRPC and HTTP are both served: `host:port` or `unix:/path`.\"\"\"

    settings = load(HostSettings, argv, prog="waypost host run", env_prefix="WAYPOST_HOST_")

How settings are declared says fields.py. Unknown flags and unknown keys of a file are errors; unknown variables
of the environment are not ours to judge. Secrets are paths of files, never values. `--print-settings` shows each
value and where it came from.
"""

import argparse
import inspect
import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mesh.fields import Bounds, Checked, Positional, Setting, Settings, Unfit, declared, meanings
from waypost.errors import Invalid

__all__ = ["Bounds", "Checked", "Positional", "Settings", "dump_toml", "flag", "load", "variable"]

S = TypeVar("S", bound=Settings)


def load(kind: type[S], argv: Sequence[str], *, prog: str, env_prefix: str, description: str = "") -> S:
    """The settings for this start. Ends the process for `--help`, `--print-settings` and wrong usage.

    Raises: Invalid(BAD_SETTING) naming the setting, what it was given and where.
    """
    parser = _parser(kind, prog, env_prefix, description, with_help=not {"-h", "--help"}.isdisjoint(argv))
    flags = {key: value for key, value in vars(parser.parse_args(argv)).items() if value is not None}
    show = flags.pop("print_settings", False)
    path = flags.pop("settings", None) or os.environ.get(f"{env_prefix}SETTINGS")
    layers: dict[str, Mapping[str, Any]] = {
        f"file {path}": _read(Path(path), kind) if path else {},
        "environment": _environment(kind, env_prefix),
        "flag": flags,
    }
    values = {name: value for layer in layers.values() for name, value in layer.items()}
    for setting in declared(kind).values():
        if setting.is_required and setting.name not in values:
            raise Invalid("BAD_SETTING", f"{flag(setting.name)} was not given", "see --help", setting=setting.name)
    try:
        settings = kind(**values)
    except Unfit as error:
        raise _invalid(error, layers) from None
    if show:
        _print(settings, layers)
        raise SystemExit(0)
    return settings


def dump_toml(values: Mapping[str, str | int | float | bool]) -> str:
    """A flat TOML file that `load` reads back. JSON's strings are TOML's basic strings."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def flag(name: str) -> str:
    """`--log-level` for `log_level`, `--from` for `from_`: the underscore keeps it from being a keyword."""
    return "--" + name.rstrip("_").replace("_", "-")


def variable(env_prefix: str, name: str) -> str:
    """`WAYPOST_HOST_LOG_LEVEL` for `log_level`."""
    return f"{env_prefix}{name.rstrip('_').upper()}"


def _parser(
    kind: type[Settings], prog: str, env_prefix: str, description: str, *, with_help: bool
) -> argparse.ArgumentParser:
    """with_help: somebody will read it. Else the sources are not searched for it, at each start of each process."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description or inspect.cleandoc(kind.__doc__ or ""),
        epilog=f"Every setting may also stand in the environment ({env_prefix}...) or in a TOML file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    texts = meanings(kind) if with_help else {}
    for setting in declared(kind).values():
        _add(parser, setting, texts.get(setting.name, ""))
    parser.add_argument("--settings", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--print-settings", action="store_true", default=None, help="show every setting and its origin")
    return parser


def _add(parser: argparse.ArgumentParser, setting: Setting, text: str) -> None:
    name, text = setting.name, text.replace("%", "%%")
    if not setting.is_required and setting.default not in (None, "", False, ()):
        text = f"{text} [default: {setting.default}]"
    if setting.is_positional:
        parser.add_argument(name, nargs=None if setting.is_required else "?", help=text, metavar=name.upper())
    elif setting.kind is bool and not setting.is_optional:
        parser.add_argument(flag(name), dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif setting.is_list:
        parser.add_argument(flag(name), dest=name, action="append", help=text, metavar=name.upper())
    else:
        metavar = {int: "N", float: "X", Path: "PATH"}.get(setting.kind, name.rstrip("_").upper())
        parser.add_argument(flag(name), dest=name, help=text, metavar=metavar)


def _read(path: Path, kind: type[Settings]) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Invalid("BAD_SETTING", f"settings file {path}: {error}") from error
    for name in values:
        if name not in declared(kind):
            raise Invalid(
                "BAD_SETTING", f"settings file {path}: unknown setting {name!r}", "see --help for all of them"
            )
    return values


def _environment(kind: type[Settings], env_prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in declared(kind).values():
        value = os.environ.get(variable(env_prefix, setting.name))
        if value is not None:
            found[setting.name] = value.split(",") if setting.is_list else value
    return found


def _invalid(error: Unfit, layers: Mapping[str, Mapping[str, Any]]) -> Invalid:
    if not error.name:
        return Invalid("BAD_SETTING", str(error), "see --help")
    origin = next(layer for layer, values in reversed(list(layers.items())) if error.name in values)
    message = f"{flag(error.name)} was given {error.given!r} ({origin}): {error}"
    return Invalid("BAD_SETTING", message, "see --help", setting=error.name)


def _print(settings: Settings, layers: Mapping[str, Mapping[str, Any]]) -> None:
    for name in declared(type(settings)):
        origin = next((layer for layer, values in reversed(list(layers.items())) if name in values), "default")
        sys.stdout.write(f"{name} = {getattr(settings, name)!s}  ({origin})\n")
