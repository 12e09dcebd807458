"""Stock gRPC clients of other languages, each with the same list of things that must work."""

import subprocess
from pathlib import Path

import pytest

from mesh import identity
from tests.wire import tools

CLIENT_S = 120.0
WORKS = ["unary", "concurrent", "metadata", "gzip", "deadline", "cancel", "error", "unknown", "stream", "flow"]


def said(argv: list[str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CLIENT_S)
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_grpc_go_works(echo: str) -> None:
    assert said([str(tools.go("./interop")), echo]) == [f"ok {name}" for name in WORKS]


def test_grpc_go_works_with_tls(tls_echo: str, certificates: Path) -> None:
    argv = [str(tools.go("./interop")), tls_echo, str(certificates / identity.ROOTS)]
    assert said(argv) == [f"ok {name}" for name in WORKS]


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_curl_gets_its_answer_with_tls(tls_echo: str, certificates: Path, protocol: str) -> None:
    """It offers both and leaves the choice to us."""
    argv = [
        "curl",
        "-s",
        protocol,
        "--cacert",
        str(certificates / identity.ROOTS),
        "-d",
        "hello",
        f"https://{tls_echo}/",
    ]
    assert said(argv) == ["hello"]


def test_grpc_java_works(echo: str) -> None:
    assert said(["java", "-cp", tools.java(), "Interop", echo]) == [f"ok {name}" for name in WORKS]
