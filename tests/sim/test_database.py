"""The simulator's database keeps the promises that the real stores keep."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from control_plane.store import Stores
from tests.contract.store_suite import Open, StoreSuite
from tests.sim.database import Database


class TestSimulated(StoreSuite):
    # It lives for one run: it forgets nothing, and cuts nothing in pieces.
    test_long_changes_come_in_pieces_of_whole_commits = None
    test_whoever_slept_through_forgotten_deletions_must_start_over = None
    test_observed_deletions_are_forgotten_in_the_end = None
    test_the_audit_log_is_bounded_and_refusals_push_out_only_refusals = None

    @pytest.fixture
    def opened(self) -> Open:
        database = Database(random.Random(1), slow_s=0.0)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Stores]:
            yield database.open()

        return opened
