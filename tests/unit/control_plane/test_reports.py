"""Reports in memory are what the store observed."""

import asyncio
import random
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.reports import Reports
from control_plane.store.observed_rows import edge_server_row, report_row
from tests.sim.database import Database
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.errors import Unavailable

SERVER = "edgeServers/e"


@settings(max_examples=50)
@given(st.integers(0, 1 << 30))
def test_reports_that_a_busy_store_interrupts_are_read_from_the_beginning(seed: int) -> None:
    """Found by tests/sim, with the same fault of mirrors: verdicts that had been reported were unknown for ever."""

    async def run() -> None:
        database = Database(random.Random(seed), slow_s=0.0)
        observed = database.open().observed
        position = "projects/p/applications/a/positions/p"
        await observed.put([report_row(SERVER, position, PositionReport(uid="u"))])
        await observed.put([edge_server_row(SERVER, EdgeServerStatus(message="there"))])
        reports = Reports(observed)
        database.busy = 0.5
        while reports.sequence < 0:
            with suppress(Unavailable):
                await reports.refresh()
        assert [report.uid for _, _, report in reports.all()] == ["u"]
        assert reports.statuses[SERVER].message == "there"

    asyncio.run(run())
