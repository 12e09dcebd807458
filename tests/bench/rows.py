"""What was measured, one row each, as it is committed with the page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of one server."""

    kind: str
    """load, start, mix, batching, tls, perf_analyzer or alone (onnxruntime without a server)."""
    what: str
    """Which cell, rate or model."""
    server: str
    beside: str
    """The server that it took turns with; empty where there was none."""
    round: int
    turn: int
    """0 and 2: ours, 1: theirs. A ratio is that of 1 to the mean of 0 and 2 of the same round."""
    values: Mapping[str, float]


def write(rows: Iterable[Row], path: Path) -> None:
    path.write_text("".join(json.dumps(_rounded(row)) + "\n" for row in rows))


def read(path: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def _rounded(row: Row) -> dict[str, object]:
    return {**asdict(row), "values": {name: float(f"{value:.6g}") for name, value in row.values.items()}}
