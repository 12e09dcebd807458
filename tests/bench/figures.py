"""From rows to figures: medians over all rounds, and ratios of turns that were taken side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean, median

from tests.bench import batching, mix, second_opinion, variants
from tests.bench.cells import Cell
from tests.bench.rows import Row
from tests.bench.servers import Peer


@dataclass(frozen=True, slots=True)
class Figure:
    """A median, and between what it lay."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float]) -> "Figure | None":
        """None of nothing."""
        found = list(values)
        return Figure(median(found), min(found), max(found)) if found else None


class Figures:
    """Of one run."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def value(self, kind: str, what: str, server: str, metric: str) -> Figure | None:
        """Over all turns."""
        rows = self._of(kind, what, lambda row: row.server == server)
        return Figure.of(row.values[metric] for row in rows if metric in row.values)

    def load(self, cell: Cell, server: str, metric: str) -> Figure | None:
        return self.value("load", str(cell), server, metric)

    def ratio(self, metric: str, cell: Cell, peer: Peer) -> Figure | None:
        """Ours to theirs."""
        return self._ratio("load", str(cell), peer, metric)

    def start_ratio(self, metric: str, peer: Peer) -> Figure | None:
        return self._ratio("start", "mlp", peer, metric)

    def opinion_ratio(self, peer: Peer) -> Figure | None:
        """Answers a second, ours to theirs, by another driver."""
        return self._ratio(second_opinion.KIND, "mlp", peer, "per_s")

    def closest(self, ratios: Iterable[Figure | None]) -> Figure | None:
        """The ratio to the best of several peers: the largest. None where one of them is missing."""
        found = list(ratios)
        if any(each is None for each in found):
            return None
        return max((each for each in found if each is not None), key=lambda each: each.median, default=None)

    def variant_ratio(self, cell: Cell, variant: variants.Variant) -> Figure | None:
        """CPU per call of a server in another way, to that in its usual one."""
        rows = self._of(variants.KIND, str(cell), lambda row: row.beside == variant.other.name)
        return Figure.of(_side_by_side(rows, "cpu_us", lambda row: row.round))

    def beside_slow(self, server: str) -> Figure | None:
        """p99 of the tiny model beside the slow one, to its p99 alone."""
        rows = self._of(mix.KIND, None, lambda row: row.server == server)
        return Figure.of(_side_by_side(rows, "p99_us", lambda row: row.round))

    def goodput_gain(self, loads: Sequence[float]) -> Figure | None:
        """Answers in time, as shipped, to the better of the two other ways; the worst of `loads`."""
        gains = [self._goodput_gain(f"{load:.0%}") for load in loads]
        return min((gain for gain in gains if gain), key=lambda gain: gain.median) if all(gains) else None

    def wasted(self) -> Figure | None:
        found = [self.value(batching.KIND, f"{load:.0%}", batching.SHIPPED.name, "wasted") for load in batching.LOADS]
        return max((each for each in found if each), key=lambda each: each.high) if all(found) else None

    def _goodput_gain(self, load: str) -> Figure | None:
        rows = self._of(batching.KIND, load, lambda row: True)
        gains = []
        for _, each in groupby(sorted(rows, key=lambda row: row.round), key=lambda row: row.round):
            goodput = {row.server: row.values["goodput_per_s"] for row in each}
            shipped = goodput.pop(batching.SHIPPED.name)
            gains.append(shipped / max(goodput.values()))
        return Figure.of(gains)

    def _ratio(self, kind: str, what: str, peer: Peer, metric: str) -> Figure | None:
        rows = self._of(kind, what, lambda row: row.beside == peer.name)
        theirs_to_ours = _side_by_side(rows, metric, lambda row: row.round)
        return Figure.of(1 / ratio for ratio in theirs_to_ours)

    def _of(self, kind: str, what: str | None, wanted: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self._rows if row.kind == kind and what in (None, row.what) and wanted(row)]


def _side_by_side(rows: Iterable[Row], metric: str, group: Callable[[Row], int]) -> list[float]:
    """The second turn to the mean of the first and the third; a group that lacks one of them is left out."""
    ratios = []
    for _, each in groupby(sorted(rows, key=group), key=group):
        by_turn = {row.turn: row.values[metric] for row in each}
        if by_turn.keys() >= {0, 1, 2}:
            ratios.append(by_turn[1] / mean((by_turn[0], by_turn[2])))
    return ratios
