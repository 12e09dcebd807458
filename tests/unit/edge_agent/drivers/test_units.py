"""A process of ours, as its directory tells of it."""

import asyncio
import os
from itertools import chain, repeat
from pathlib import Path
from unittest.mock import patch

from edge_agent.drivers.unit import Unit
from mesh.processes import Process
from tests.unit.control_plane.scenario import scenario


@scenario
async def test_a_process_that_ended_before_it_was_watched_is_not_taken_for_a_stranger_with_its_id(
    tmp_path: Path,
) -> None:
    """The kernel may have given its id to another process in between, which lives on."""
    ended = asyncio.Event()
    alive = patch.object(Process, "alive", side_effect=chain([True], repeat(False)))
    with alive, patch.object(Process, "pid", side_effect=chain([os.getpid()], repeat(None))):
        unit = Unit(tmp_path, ended.set)
        assert unit.running
        await ended.wait()
        assert not unit.running
