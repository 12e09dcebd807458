"""Runs a command beside a PostgreSQL server of its own, which is gone afterwards, however the command ends.

    python tools/with_postgres.py python -m pytest tests/contract/test_stores.py

The command finds the server in WAYPOST_TEST_POSTGRES. It is Debian's (`apt-get install postgresql`), with its data and
its socket in a temporary directory; nothing listens on the network. Root runs it as `postgres`, the user that Debian's
package makes: PostgreSQL refuses to run as root. The exit code is the command's.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGED = Path("/usr/lib/postgresql")  # <major>/bin
VARIABLE = "WAYPOST_TEST_POSTGRES"
PATIENCE_S = 60.0  # to start or to stop: an idle machine takes a second

INITDB = (
    *("--auth", "trust", "--username", "waypost"),  # whoever can open the directory is trusted, and nobody else can
    *("--encoding", "UTF8", "--locale", "C.UTF-8"),
    *("--locale-provider", "icu", "--icu-locale", "en"),  # orders unlike bytes do: our schema must not rely on it
    "--no-sync",
)
SERVER = ("-c", "listen_addresses=", "-c", "fsync=off")  # thrown away afterwards


def main(command: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of every `finally`
    if not command:
        sys.stderr.write(f"{__doc__}")
        return 2
    with tempfile.TemporaryDirectory(prefix="waypost-postgres-") as directory, server(Path(directory)) as url:
        return subprocess.run(command, env={**os.environ, VARIABLE: url}, check=False).returncode


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """Runs until the end of the block; gives the URL of a database whose user may create others."""
    programs, data, as_whom = installed(), directory / "data", _unprivileged()
    if as_whom:
        shutil.chown(directory, as_whom["user"])
    initdb = [programs / "initdb", *INITDB, "--pgdata", data]
    subprocess.run(initdb, **as_whom, cwd=directory, stdout=subprocess.DEVNULL, check=True)
    start = [programs / "postgres", *SERVER, "-D", data, "-k", directory]
    with (directory / "log").open("wb") as log:
        running = subprocess.Popen(start, **as_whom, cwd=directory, stdout=log, stderr=log)
    try:
        _wait_until_ready(running, programs / "pg_isready", directory)
        yield f"postgresql://waypost@/postgres?host={directory}"
    finally:
        running.send_signal(signal.SIGINT)  # "fast": whoever is connected is cut off
        running.wait(PATIENCE_S)


def installed() -> Path:
    """Directory of the newest PostgreSQL's programs. Exits where there is none."""
    found = sorted(PACKAGED.glob("*/bin"), key=lambda directory: float(directory.parent.name))
    if not found:
        sys.exit("error: PostgreSQL is not installed\n\nhint: apt-get install postgresql")
    return found[-1]


def _unprivileged() -> dict[str, Any]:
    """Arguments of `subprocess` that make root somebody else."""
    return {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.geteuid() == 0 else {}


def _wait_until_ready(running: "subprocess.Popen[bytes]", is_ready: Path, directory: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while subprocess.run([is_ready, "-q", "-h", directory], check=False).returncode:
        if running.poll() is not None or time.monotonic() > deadline_s:
            sys.exit(f"error: PostgreSQL does not start:\n{(directory / 'log').read_text()}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
