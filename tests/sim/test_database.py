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
    # Nobody in the simulation is a stranger: it takes text as it comes.
    test_one_bad_event_harms_no_other_that_is_written_with_it = None
    test_one_bad_audit_entry_harms_no_other_that_is_written_with_it = None
    test_no_row_for_people_is_larger_than_a_page = None
    test_what_cannot_be_a_key_is_refused_and_not_found = None
    test_who_asks_for_what_cannot_be_harms_nobody_who_asks_with_him = None

    @pytest.fixture
    def opened(self) -> Open:
        database = Database(random.Random(1), slow_s=0.0)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Stores]:
            yield database.open()

        return opened
