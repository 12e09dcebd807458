"""What the edge reported, in memory, equal to the observed rows as of a sequence: what `mirror` is to records.

Whoever must look at all reports whenever one of them changes keeps them here: everything is read once, and from then
on only what changed.
"""

from collections.abc import Collection
from dataclasses import dataclass

from control_plane.store import ObservedRow, ObservedStore
from control_plane.store.observed_rows import EDGE_SERVER, POSITION_REPORT, report_name, split_report_name
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport

Reported = PositionReport | EdgeServerStatus


@dataclass(frozen=True, slots=True)
class Change:
    """Of one report or status. None: there was none, or there is none any more."""

    before: Reported | None
    after: Reported | None
    position: str = ""
    """Full name; empty where it is of an edge server."""


class Reports:
    """For one task. Reports are shared: nobody may change them."""

    def __init__(self, observed: ObservedStore) -> None:
        self._observed = observed
        self._reports: dict[tuple[str, str], PositionReport] = {}
        self.statuses: dict[str, EdgeServerStatus] = {}
        """Of edge servers. To be read only."""
        self.sequence = -1
        """How far this goes; -1: nothing was read yet."""

    def all(self) -> list[tuple[str, str, PositionReport]]:
        """(edge server, position, report)."""
        return [(*key, report) for key, report in self._reports.items()]

    async def refresh(self) -> list[Change]:
        """Catches up; returns what changed since the last call."""
        if self.sequence < 0:
            sequence = await self._observed.sequence()
            rows = [*await self._observed.scan(POSITION_REPORT), *await self._observed.scan(EDGE_SERVER)]
            self.sequence = sequence  # only now: a store that is busy in between must be read from the beginning again
            return [self._take(row) for row in rows]
        found: list[Change] = []
        while True:
            changes = await self._observed.changes(self.sequence)
            self.sequence = changes.sequence
            found += [self._take(row) for row in changes.rows if row.kind in (POSITION_REPORT, EDGE_SERVER)]
            gone = [(kind, name) for kind, name in changes.deleted if kind in (POSITION_REPORT, EDGE_SERVER)]
            found += [self._drop(kind, name) for kind, name in gone]
            if not changes.rows and not changes.deleted:
                return found

    async def forget(self, positions: Collection[str]) -> None:
        """These positions are no more; what was said of them is of no use to anybody."""
        gone = [report_name(*key) for key in self._reports if key[1] in positions]
        await self._observed.delete(POSITION_REPORT, gone)

    def _take(self, row: ObservedRow) -> Change:
        if row.kind == EDGE_SERVER:
            status = EdgeServerStatus.FromString(row.body)
            change = Change(self.statuses.get(row.name), status)
            self.statuses[row.name] = status
            return change
        key, report = split_report_name(row.name), PositionReport.FromString(row.body)
        change = Change(self._reports.get(key), report, key[1])
        self._reports[key] = report
        return change

    def _drop(self, kind: str, name: str) -> Change:
        if kind == EDGE_SERVER:
            return Change(self.statuses.pop(name, None), None)
        key = split_report_name(name)
        return Change(self._reports.pop(key, None), None, key[1])
