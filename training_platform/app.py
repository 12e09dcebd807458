"""`waypost training`: serve a directory of models, and fill it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mesh import serve
from mesh.settings import load
from training_platform.access import activation_token
from training_platform.manifest import Key, check_key
from training_platform.publishing import publish, withdraw
from training_platform.report import describe
from training_platform.settings import PublishSettings, ServeSettings, StatusSettings, TokenSettings, WithdrawSettings
from waypost.errors import Invalid, MeshError

PROG = "waypost training"
ENV_PREFIX = "WAYPOST_TRAINING_"

Command = Callable[[Sequence[str]], int]


def main(argv: Sequence[str]) -> int:
    """Runs one subcommand; returns the exit code."""
    commands: dict[str, Command] = {
        "serve": _serve,
        "publish": _publish,
        "withdraw": _withdraw,
        "token": _token,
        "status": _status,
    }
    command = commands.get(argv[0]) if argv else None
    if command is None:
        return _usage(commands, asked=bool(argv) and argv[0] in ("--help", "-h"))
    try:
        return command(argv[1:])
    except (MeshError, OSError) as error:
        sys.stderr.write(serve.render(error) if isinstance(error, MeshError) else f"error: {error}\n")
        return 1


def _usage(commands: Mapping[str, Command], *, asked: bool) -> int:
    text = f"usage: {PROG} {{{','.join(commands)}}} ...\n\n`{PROG} COMMAND --help` tells more.\n"
    (sys.stdout if asked else sys.stderr).write(text)
    return 0 if asked else 2


def _serve(argv: Sequence[str]) -> int:
    from training_platform.serving import run  # the other commands need no gRPC server

    settings = load(ServeSettings, argv, prog=f"{PROG} serve", env_prefix=ENV_PREFIX)
    return serve.run("training-platform", lambda stop: run(settings, stop), log_level=settings.log_level)


def _publish(argv: Sequence[str]) -> int:
    settings = load(PublishSettings, argv, prog=f"{PROG} publish", env_prefix=ENV_PREFIX)
    published = publish(
        settings.directory,
        *_key(settings.version),
        _files(settings),
        template_class=settings.template_class,
        metrics=_metrics(settings.metric),
        idempotent=settings.idempotent,
        keeps_state=settings.keeps_state,
        description=settings.description,
        parent_version=settings.parent_version,
    )
    size = sum(file.size_bytes for file in published.files)
    sys.stdout.write(
        f"published {settings.version}: {len(published.files)} file(s), {size / 1024:.1f} KiB\n\n"
        f"next: `{PROG} serve {settings.directory}`, unless it runs; subscribers have the version within a second.\n"
        f"      `waypost model version list` shows it, `waypost deploy` puts it at a position.\n"
    )
    return 0


def _withdraw(argv: Sequence[str]) -> int:
    settings = load(WithdrawSettings, argv, prog=f"{PROG} withdraw", env_prefix=ENV_PREFIX)
    withdraw(settings.directory, *_key(settings.version))
    sys.stdout.write(f"withdrew {settings.version}: positions that serve it go on; publish it again to bring it back\n")
    return 0


def _token(argv: Sequence[str]) -> int:
    settings = load(TokenSettings, argv, prog=f"{PROG} token", env_prefix=ENV_PREFIX)
    sys.stdout.write(activation_token(settings.directory.resolve(), renew=settings.new) + "\n")
    return 0


def _status(argv: Sequence[str]) -> int:
    settings = load(StatusSettings, argv, prog=f"{PROG} status", env_prefix=ENV_PREFIX)
    sys.stdout.write(describe(settings.directory.resolve()))
    return 0


def _key(version: str) -> Key:
    parts = version.split("/")
    if len(parts) != 3:
        raise Invalid("BAD_NAME", f"{version!r} names no version", "write it as APPLICATION/MODEL/VERSION")
    key = (parts[0], parts[1], parts[2])
    check_key(key)
    return key


def _files(settings: PublishSettings) -> dict[str, Path]:
    """Files by their path inside the package."""
    if (settings.onnx is None) == (settings.package is None):
        raise Invalid("BAD_SETTING", "give either --onnx FILE or --package DIR", "see --help")
    if settings.onnx is not None:
        return {"model.onnx": settings.onnx}
    assert settings.package is not None
    inside = (path.relative_to(settings.package) for path in settings.package.rglob("*") if path.is_file())
    found = {str(path): settings.package / path for path in inside if not any(map(_is_byproduct, path.parts))}
    if not settings.template_class and not any(path.endswith(".onnx") for path in found):
        hint = "say which class answers: --template-class template:Level"
        raise Invalid("BAD_SETTING", f"{settings.package} holds no .onnx file, and no template is named", hint)
    return found


def _is_byproduct(name: str) -> bool:
    """Of editors, version control, Python and pytest."""
    return name.startswith(".") or name == "__pycache__"


def _metrics(texts: Sequence[str]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        try:
            metrics[name] = float(value)
        except ValueError as error:
            raise Invalid("BAD_SETTING", f"--metric was given {text!r}", "write it as mae=0.31") from error
        if not separator or not name:
            raise Invalid("BAD_SETTING", f"--metric was given {text!r}", "write it as mae=0.31")
    return metrics
