"""Where log lines end."""

import errno
import io
import os
import sys

import pytest

from mesh.logs import Stderr


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_line_goes_where_stderr_is_now(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(Stderr(), level)("a line")
    assert capsys.readouterr().err == "a line\n"


@pytest.mark.parametrize("stream", [Full(), closed()], ids=["full", "closed"])
def test_a_line_that_cannot_be_written_costs_nobody_anything(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    Stderr().error("a line")
