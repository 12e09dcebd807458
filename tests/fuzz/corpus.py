"""The seeds: one short script per thing that can happen, written by `python -m tests.fuzz.corpus`.

They are committed, so that a fuzzer anywhere starts where this one did. The names say what happens; a test makes sure
that the files are what this module writes.
"""

from pathlib import Path

from tests.fuzz.asked import ASKED
from tests.fuzz.compressed import hpack
from tests.fuzz.served import CONNECTION_ERRORS, OWN_ENDS, SERVED, STREAM_ERRORS
from tests.fuzz.steps import CLIENT, SERVER, TAKE, TIGHT_CLIENT, TIGHT_SERVER, data, headers, hear, tick

CORPUS = Path(__file__).parent / "corpus"
HTTP2, HPACK = CORPUS / "http2", CORPUS / "hpack"


def http2() -> dict[str, bytes]:
    return {
        **{f"served, {name}": SERVER + steps for name, steps in SERVED.items()},
        **{f"served tightly, {name}": TIGHT_SERVER + steps for name, steps in SERVED.items()},
        **{
            f"stream error, {name}": TIGHT_SERVER + hear(frames, headers(99), data(1)) + TAKE
            for name, frames in STREAM_ERRORS.items()
        },
        **{
            f"connection error, {name}": TIGHT_SERVER + hear(frames) + TAKE + hear(b"more") + tick(1)
            for name, frames in CONNECTION_ERRORS.items()
        },
        **{f"end, {name}": steps for name, steps in OWN_ENDS.items()},
        **{f"asked, {name}": CLIENT + steps for name, steps in ASKED.items()},
        **{f"asked tightly, {name}": TIGHT_CLIENT + steps for name, steps in ASKED.items()},
    }


def write() -> None:
    for folder, scripts in ((HTTP2, http2()), (HPACK, hpack())):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
        for name, script in scripts.items():
            (folder / file_name(name)).write_bytes(script)


def file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).replace("--", "-") + ".bin"


if __name__ == "__main__":
    write()
