"""What a long task's end means for the process, and who may hold a data directory."""

import asyncio
from pathlib import Path

import pytest

from control_plane.alone import only_process, store_url
from control_plane.app import run_tasks
from tests.unit.control_plane.scenario import scenario, until
from waypost.errors import Precondition, Unavailable


@scenario
async def test_a_busy_store_interrupts_a_task_and_no_other() -> None:
    stop, begun = asyncio.Event(), {"busy": 0, "calm": 0}

    async def busy() -> None:
        begun["busy"] += 1
        raise ExceptionGroup("tasks", [Unavailable("STORE_BUSY", "somebody else writes")])

    async def calm() -> None:
        begun["calm"] += 1
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_tasks({"busy": busy, "calm": calm}, stop, interrupted_s=0))
        await until(lambda: begun["busy"] > 3)
        stop.set()
    assert begun["calm"] == 1


@scenario
async def test_a_fault_of_ours_ends_everything() -> None:
    async def faulty() -> None:
        raise ZeroDivisionError

    async def calm() -> None:
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as ended:
        await run_tasks({"faulty": faulty, "calm": calm}, asyncio.Event())
    assert ended.group_contains(ZeroDivisionError)


def test_a_data_directory_has_one_process(tmp_path: Path) -> None:
    url = store_url("", tmp_path)
    with only_process(tmp_path, url), pytest.raises(Precondition, match=r"pid \d+"), only_process(tmp_path, url):
        pass
    with only_process(tmp_path, url):
        pass


def test_a_store_that_is_a_file_has_one_process_whatever_directories_they_have(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    url = f"sqlite:///{tmp_path}/shared/store.db"
    with only_process(one, url), pytest.raises(Precondition) as refused, only_process(two, url):
        pass
    assert refused.value.reason == "STORE_IN_USE"
    assert "PostgreSQL" in refused.value.hint
    with only_process(one, "postgresql://host/db"), only_process(two, "postgresql://host/db"):
        pass
