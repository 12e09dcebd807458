"""Position reports in memory, equal to the observed rows as of a sequence: what `mirror` is to records.

Whoever must look at all reports whenever one of them changes keeps them here: everything is read once, and from then
on only what changed.
"""

from collections.abc import Collection
from dataclasses import dataclass

from control_plane.store import ObservedStore
from control_plane.store.observed_rows import POSITION_REPORT, report_name, split_report_name
from waypost.api.link.v1.agent_link_pb2 import PositionReport


@dataclass(frozen=True, slots=True)
class Change:
    """Of one report. None: there was none, or there is none any more."""

    before: PositionReport | None
    after: PositionReport | None


class Reports:
    """For one task. Reports are shared: nobody may change them."""

    def __init__(self, observed: ObservedStore) -> None:
        self._observed = observed
        self._reports: dict[tuple[str, str], PositionReport] = {}
        self.sequence = -1
        """How far this goes; -1: nothing was read yet."""

    def all(self) -> list[tuple[str, str, PositionReport]]:
        """(edge server, position, report)."""
        return [(*key, report) for key, report in self._reports.items()]

    async def refresh(self) -> list[Change]:
        """Catches up; returns what changed since the last call."""
        if self.sequence < 0:
            self.sequence = await self._observed.sequence()
            return [self._take(row.name, row.body) for row in await self._observed.scan(POSITION_REPORT)]
        found: list[Change] = []
        while True:
            changes = await self._observed.changes(self.sequence)
            self.sequence = changes.sequence
            found += [self._take(row.name, row.body) for row in changes.rows if row.kind == POSITION_REPORT]
            found += [self._drop(name) for kind, name in changes.deleted if kind == POSITION_REPORT]
            if not changes.rows and not changes.deleted:
                return found

    async def forget(self, positions: Collection[str]) -> None:
        """These positions are no more; what was said of them is of no use to anybody."""
        gone = [report_name(*key) for key in self._reports if key[1] in positions]
        await self._observed.delete(POSITION_REPORT, gone)

    def _take(self, name: str, body: bytes) -> Change:
        key, after = split_report_name(name), PositionReport.FromString(body)
        change = Change(self._reports.get(key), after)
        self._reports[key] = after
        return change

    def _drop(self, name: str) -> Change:
        return Change(self._reports.pop(split_report_name(name), None), None)
