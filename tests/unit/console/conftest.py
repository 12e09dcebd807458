import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console import cli, contexts
from tests.unit.console.fake_platform import FakePlatform

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the test's own: never the developer's."""
    for variable in ("WAYPOST_CONTEXT", "WAYPOST_OUTPUT"):  # which the command hands down by
        monkeypatch.setenv(variable, "")  # so that it is taken back what the test sets
        monkeypatch.delenv(variable)
    monkeypatch.setenv(contexts.CONFIGURATION_VARIABLE, str(tmp_path / "configuration"))
    return tmp_path / "configuration"


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    """A fake platform that is the current context."""
    with tempfile.TemporaryDirectory(prefix="wp-") as directory, FakePlatform(Path(directory)) as fake:
        contexts.save(fake.context)
        contexts.use(fake.context.name)
        yield fake


@pytest.fixture
def waypost(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command line; returns exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
