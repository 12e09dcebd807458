"""The seeds: one short script per thing that can happen, written by `python -m tests.fuzz.corpus`.

They are committed, so that a fuzzer anywhere starts where this one did. The names say what happens; a test makes sure
that the files are what this module writes.
"""

from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def write() -> None:
    for name, target in TARGETS.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
        for what, script in target.seeds().items():
            (folder / file_name(what)).write_bytes(script)


def file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).replace("--", "-") + ".bin"


if __name__ == "__main__":
    write()
