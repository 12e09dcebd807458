"""`waypost host init`: a small package that runs at once.

What it writes stands in starters/, file by file, as it will stand in the package; `$model` and the like are filled in.
A package that holds a trained model answers its samples before this command ends, and what it answered is written down
as what is expected: so `waypost host test` has something to compare with from the first minute.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from string import Template

from inference_host.workbench.settings import InitSettings, TestSettings
from waypost.errors import AlreadyExists, Invalid, NotFound, Precondition

PYTHON, SKLEARN, ONNX = "python", "sklearn", "onnx"
STARTERS = files("inference_host.workbench") / "starters"
SUFFIX = ".in"
TRAIN_S_MAX = 120.0  # the example trains in two seconds, most of which is the library's import
NEEDS = ("scikit-learn", "joblib")


def run(chosen: InitSettings) -> int:
    """Returns the exit code. Raises: MeshError, OSError; then nothing is left behind."""
    graph = _graph(chosen.from_)
    kind = ONNX if graph is not None else chosen.from_
    directory = chosen.directory
    is_new = not directory.exists()
    _refuse_overwriting(directory)
    words = _words(directory, kind)
    try:
        _write(directory, kind, words)
        if graph is not None:
            shutil.copyfile(graph, directory / "model.onnx")
        if kind != PYTHON:
            _prove(directory, kind)
    except BaseException:
        _clear(directory, keep=not is_new)
        raise
    sys.stdout.write(_next(directory, kind))
    return 0


def _graph(begin_with: str) -> Path | None:
    """The ONNX file that is named; None for one of the words. Raises: Invalid, NotFound."""
    if begin_with in (PYTHON, SKLEARN):
        return None
    path = Path(begin_with)
    if path.suffix != ".onnx":
        hint = "write --from python, --from sklearn, or --from FILE.onnx"
        raise Invalid("BAD_SETTING", f"--from was given {begin_with!r}, which is no beginning", hint)
    if not path.is_file():
        raise NotFound("NO_SUCH_FILE", f"there is no file {path}", "name an ONNX model that is there")
    return path


def _refuse_overwriting(directory: Path) -> None:
    """Raises: AlreadyExists(NOT_EMPTY)."""
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        what = "holds files already" if directory.is_dir() else "is a file"
        raise AlreadyExists("NOT_EMPTY", f"{directory.resolve()} {what}", "nothing was written; name a new directory")


def _words(directory: Path, kind: str) -> dict[str, str]:
    """What is filled in. Raises: Precondition(MISSING_LIBRARY)."""
    words = {"model": directory.resolve().name, "directory": str(directory)}
    if kind == SKLEARN:
        words |= {name.replace("-", "_"): _installed(name) for name in NEEDS}
    return words


def _installed(library: str) -> str:
    """Its version: what was pickled with one version is read with the same."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError as error:
        hint = "nothing was written; pip install scikit-learn"
        raise Precondition(
            "MISSING_LIBRARY", f"--from sklearn needs {library}, which is not installed", hint
        ) from error


def _write(directory: Path, kind: str, words: Mapping[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for source in (STARTERS / kind).iterdir():
        text = Template(source.read_text()).substitute(words)
        (directory / source.name.removesuffix(SUFFIX)).write_text(text)


def _prove(directory: Path, kind: str) -> None:
    """Trains what is to be trained, and lets the package answer its samples. Raises: Precondition."""
    from inference_host.workbench import test

    if kind == SKLEARN:
        _train(directory)
    report = test.tried(TestSettings(package=directory, record=True))
    if not report["ok"]:
        raise Precondition("NOT_SERVABLE", _why(report), "nothing was written; `waypost host test` says more")
    if report["recorded"]:
        test.record(directory, report["recorded"])


def _train(directory: Path) -> None:
    command = [sys.executable, "train.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=TRAIN_S_MAX, check=False)
    if done.returncode:
        raise Precondition("TRAINING_FAILED", f"train.py ended with {done.stderr.strip()}", "nothing was written")


def _why(report: Mapping[str, object]) -> str:
    return str(report.get("message") or report["checks"])


def _clear(directory: Path, *, keep: bool) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if keep:
        directory.mkdir()


def _next(directory: Path, kind: str) -> str:
    names = ", ".join(sorted(path.name for path in directory.iterdir()))
    here = "" if directory.resolve() == Path.cwd() else f" {directory}"
    place = here or " ."
    return (
        f"wrote {names}\n\n"
        f"next: waypost host test{place}\n"
        f"      waypost host run{place} --reload\n"
        f"      waypost host bench{place}\n"
    )
