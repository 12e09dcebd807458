"""What the edge said that planning must respect, kept in memory as it changes."""

from collections.abc import Sequence

from control_plane.store import ObservedRow, ObservedStore
from control_plane.store.observed_rows import POSITION_REPORT, split_report_name
from waypost.api.link.v1.agent_link_pb2 import PositionReport


class Reports:
    """Position reports by the name of their row. For one task."""

    def __init__(self, observed: ObservedStore) -> None:
        self._observed = observed
        self._reports: dict[str, PositionReport] = {}
        self.sequence = -1
        """How far this goes; -1: nothing was read yet."""

    def all(self) -> list[tuple[str, PositionReport]]:
        """(edge server, report)."""
        return [(split_report_name(name)[0], report) for name, report in self._reports.items()]

    async def refresh(self) -> bool:
        """Catches up; True where something that planning looks at has changed."""
        if self.sequence < 0:
            self.sequence = await self._observed.sequence()
            return self._take(await self._observed.scan(POSITION_REPORT))
        changed = False
        while True:
            changes = await self._observed.changes(self.sequence)
            self.sequence = changes.sequence
            for kind, name in changes.deleted:
                if kind == POSITION_REPORT:
                    self._reports.pop(name, None)
            changed |= self._take(changes.rows)
            if not changes.rows and not changes.deleted:
                return changed

    async def forget(self, positions: frozenset[str]) -> None:
        """These positions are no more; what was said of them is of no use to anybody."""
        gone = [name for name in self._reports if split_report_name(name)[1] in positions]
        await self._observed.delete(POSITION_REPORT, gone)

    def _take(self, rows: Sequence[ObservedRow]) -> bool:
        changed = False
        for row in rows:
            if row.kind == POSITION_REPORT:
                report = PositionReport.FromString(row.body)
                before = self._reports.get(row.name)
                changed |= before is None or _planned_from(before) != _planned_from(report)
                self._reports[row.name] = report
        return changed


def _planned_from(report: PositionReport) -> tuple[str, bool, frozenset[str]]:
    return report.uid, report.gone, frozenset(rejection.digest for rejection in report.status.rejected)
