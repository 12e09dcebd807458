"""The connection machine under atheris: `python -m tests.fuzz.fuzz_http2 [-max_total_time=600]`.

It starts from the committed corpus and writes what it finds to a new directory, whose name it prints.
"""

import sys
import tempfile

from tests.fuzz.corpus import HTTP2
from tests.fuzz.script import Player


def play(script: bytes) -> None:
    Player(script).play()


def main() -> None:
    import atheris  # only a fuzzing run needs it, and it is no dependency of the project

    found = tempfile.mkdtemp(prefix="waypost-fuzz-")  # the first directory is where it writes what it finds
    atheris.instrument_all()
    atheris.Setup([*sys.argv, "-max_len=4096", f"-artifact_prefix={found}/", found, str(HTTP2)], play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
