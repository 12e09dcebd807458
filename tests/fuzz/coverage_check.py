"""How much of the HTTP/2 machine the corpus alone reaches: `python -m tests.fuzz.coverage_check`; fails below the goal.

A fuzzer finds what is near to what it starts from, so the corpus should have been nearly everywhere.
"""

import json
import sys
import tempfile
from pathlib import Path

import coverage

BRANCHES_GOAL = 0.95
CONNECTION = {"http2", "framing", "control", "outgoing", "server", "client"}
PARTS = {"blocks", "faults", "frames", "heads", "limits", "liveness", "outbox", "settings", "streams"}
MODULES = CONNECTION | PARTS | {"hpack", "huffman", "fields"}


def main() -> int:
    measured = coverage.Coverage(branch=True, source_pkgs=["waypost.wire"], data_file=None)
    with measured.collect():
        replay()
    files = [report for path, report in reports(measured).items() if Path(path).stem in MODULES]
    share = sum(file["covered_branches"] for file in files) / sum(file["num_branches"] for file in files)
    sys.stdout.write(f"{share:.1%} of the branches, goal {BRANCHES_GOAL:.0%}\n")
    return share < BRANCHES_GOAL


def replay() -> None:
    """Imported late: what runs at import counts as well."""
    from tests.fuzz.corpus import CORPUS
    from tests.fuzz.targets import TARGETS

    for name in ("http2", "hpack"):
        for path in (CORPUS / name).iterdir():
            TARGETS[name].play(path.read_bytes())


def reports(measured: coverage.Coverage) -> dict[str, dict[str, int]]:
    """Path → its summary; says which lines and branches of it are missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(path))
        files = json.loads(path.read_text())["files"]
    for name, file in files.items():
        if Path(name).stem in MODULES and (file["missing_branches"] or file["missing_lines"]):
            missing = f"lines {file['missing_lines']}, branches {file['missing_branches']}"
            sys.stdout.write(f"{Path(name).stem}: not reached {missing}\n")
    return {name: file["summary"] for name, file in files.items()}


if __name__ == "__main__":
    sys.exit(main())
