"""Our server against clients that others wrote: tests/wire/echo_host.py as a process, in the clear and with TLS."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import for_localhost

END_S = 20.0


@pytest.fixture(scope="session")
def echo() -> Iterator[str]:
    """Its address."""
    with echo_host() as address:
        yield address


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as `tls` names it."""
    return for_localhost(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_echo(certificates: Path) -> Iterator[str]:
    """`localhost:port`, with TLS, and with the frame size that every HTTP/2 server starts with."""
    with echo_host("--tls", str(certificates), "--frame-bytes", str(1 << 14)) as address:
        yield f"localhost:{address.rpartition(':')[2]}"


@contextlib.contextmanager
def echo_host(*flags: str) -> Iterator[str]:
    """Ends in good order, or the test fails."""
    argv = [sys.executable, "-m", "tests.wire.echo_host", "127.0.0.1:0", *flags]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address
        yield address
        process.terminate()
        assert process.wait(END_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
