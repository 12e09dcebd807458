"""The page of `make chaos`, written from the rows of one run or of several."""

from dataclasses import replace
from pathlib import Path

from tests.chaos.cells import matrix
from tests.chaos.report import read, write
from tests.chaos.run import Verdict

CELLS = list(matrix())


def test_cells_that_ran_again_take_the_place_of_those_before(tmp_path: Path) -> None:
    page, rows = tmp_path / "chaos.md", tmp_path / "chaos" / "rows.jsonl"
    before = [Verdict(cell, 1000, 0, 0, 400.0, 1.0, time="2026-11-01 10:00") for cell in CELLS]
    write(reversed(before), page, rows)
    assert read(rows) == before
    assert "Every cell is as it must be." in page.read_text()
    again = replace(before[3], failed=7, wrong="7 calls failed", time="2026-11-02 10:00")
    write([*read(rows), again], page, rows)
    assert read(rows) == [*before[:3], again, *before[4:]]
    assert f"* {CELLS[3]}: 7 calls failed" in page.read_text()
    assert f"{len(CELLS)} cells, of runs that ended from 2026-11-01 10:00 to 2026-11-02 10:00 UTC" in page.read_text()


def test_a_cell_that_was_not_run_is_said_to_be_missing(tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    write([Verdict(CELLS[0], 1000, 0, 0, 400.0, 1.0, time="2026-11-01 10:00")], page, tmp_path / "rows.jsonl")
    assert page.read_text().count("not run") == len(CELLS) - 1
