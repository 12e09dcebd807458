"""Settings of a component: flag > environment > TOML file > default, each explained where it is declared.

    class HostSettings(Settings):
        grpc: str = "127.0.0.1:8001"
        \"\"\"Address of the gRPC face: `host:port` or `unix:/path`.\"\"\"

    settings = load(HostSettings, argv, prog="waypost host run", env_prefix="WAYPOST_HOST_")

The docstring of an attribute is its help text. Unknown flags and unknown keys of a file are errors; unknown variables
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
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from waypost.errors import Invalid


class Settings(BaseModel):
    """Base of all settings; frozen once loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Positional:
    """Marks a field that is given without its flag: `model: Annotated[Path | None, Positional()] = None`."""


S = TypeVar("S", bound=Settings)


def load(kind: type[S], argv: Sequence[str], *, prog: str, env_prefix: str, description: str = "") -> S:
    """The settings for this start. Ends the process for `--help`, `--print-settings` and wrong usage.

    Raises: Invalid(BAD_SETTING) naming the setting, what it was given and where.
    """
    parser = _parser(kind, prog, env_prefix, description)
    flags = {key: value for key, value in vars(parser.parse_args(argv)).items() if value is not None}
    show = flags.pop("print_settings", False)
    path = flags.pop("settings", None) or os.environ.get(f"{env_prefix}SETTINGS")
    layers: dict[str, Mapping[str, Any]] = {
        f"file {path}": _read(Path(path), kind) if path else {},
        "environment": _environment(kind, env_prefix),
        "flag": flags,
    }
    values = {name: value for layer in layers.values() for name, value in layer.items()}
    try:
        settings = kind(**values)
    except ValidationError as error:
        raise _invalid(error, layers) from error
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


def _parser(kind: type[Settings], prog: str, env_prefix: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description or inspect.cleandoc(kind.__doc__ or ""),
        epilog=f"Every setting may also stand in the environment ({env_prefix}...) or in a TOML file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in kind.model_fields.items():
        _add(parser, name, field)
    parser.add_argument("--settings", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--print-settings", action="store_true", default=None, help="show every setting and its origin")
    return parser


def _add(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    text = " ".join((field.description or "").split()).replace("%", "%%")
    if not field.is_required() and field.default not in (None, "", False, ()):
        text = f"{text} [default: {field.default}]"
    if any(isinstance(mark, Positional) for mark in field.metadata):
        parser.add_argument(name, nargs=None if field.is_required() else "?", help=text, metavar=name.upper())
    elif field.annotation is bool:
        parser.add_argument(flag(name), dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif get_origin(field.annotation) in (list, tuple):
        parser.add_argument(flag(name), dest=name, action="append", help=text, metavar=name.upper())
    else:
        parser.add_argument(flag(name), dest=name, help=text, metavar=_metavar(name, field))


def _metavar(name: str, field: FieldInfo) -> str:
    kinds = [kind for kind in (*get_args(field.annotation), field.annotation) if kind in (int, float, Path)]
    return {int: "N", float: "X", Path: "PATH"}.get(kinds[0], name.upper()) if kinds else name.rstrip("_").upper()


def _read(path: Path, kind: type[Settings]) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Invalid("BAD_SETTING", f"settings file {path}: {error}") from error
    for name in values:
        if name not in kind.model_fields:
            raise Invalid(
                "BAD_SETTING", f"settings file {path}: unknown setting {name!r}", "see --help for all of them"
            )
    return values


def _environment(kind: type[Settings], env_prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        value = os.environ.get(variable(env_prefix, name))
        if value is not None:
            found[name] = value.split(",") if get_origin(field.annotation) in (list, tuple) else value
    return found


def _invalid(error: ValidationError, layers: Mapping[str, Mapping[str, Any]]) -> Invalid:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    origin = next((layer for layer, values in reversed(list(layers.items())) if name in values), "nowhere")
    given = f"was given {first['input']!r} ({origin})" if origin != "nowhere" else "was not given"
    return Invalid("BAD_SETTING", f"{flag(name)} {given}: {first['msg']}", "see --help", setting=name)


def _print(settings: Settings, layers: Mapping[str, Mapping[str, Any]]) -> None:
    for name in type(settings).model_fields:
        origin = next((layer for layer, values in reversed(list(layers.items())) if name in values), "default")
        sys.stdout.write(f"{name} = {getattr(settings, name)!s}  ({origin})\n")
