"""The control plane as a process: everything put together, from the lock on its data directory to the last goodbye.

    <data_dir>/   control-plane.lock   one process at a time
                  store.db             resources, observed state, events, history (unless database_url names another)
                  identity/            our root and its key, our own certificate
                  ca.pem               what clients of the API trust
                  admin.token          the first credential, made with the store
                  artifacts/           files by digest
                  sources/             access tokens for training platforms
                  packages/            model versions under check
                  control-plane.id     by which other control planes on the same store know this directory

Every long task is level-triggered and may be begun again at any time. A MeshError that reaches it from below (a busy
store, a full disk) interrupts it for a moment; anything else is a fault of ours, and ends the process so that its
supervisor starts it afresh. Edge servers notice neither: they serve on and dial again.
"""

import asyncio
import gc
import random
import resource
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from control_plane.settings import ENV_PREFIX, ControlPlaneSettings
from mesh import serve
from mesh.files import private_directory, remove_leftovers
from mesh.settings import load
from mesh.waiting import in_own_task
from waypost.errors import MeshError

log = structlog.get_logger()

INTERRUPTED_S = 1.0  # before a task that a MeshError interrupted begins again
OPEN_FILES_MAX = 1 << 16  # several times the agents that one process can carry
COLLECT_AFTER = (50_000, 20, 100)  # for gc: a look at all that a fleet of thousands has here takes a second
DRAIN_S = 2.0  # for calls under way when we are told to stop; a watch is cut off and called again


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""
    try:
        settings = load(ControlPlaneSettings, argv, prog="waypost control-plane", env_prefix=ENV_PREFIX)
    except MeshError as error:
        sys.stderr.write(serve.render(error))
        return 1
    return serve.run("control-plane", partial(run, settings), log_level=settings.log_level)


async def run(settings: ControlPlaneSettings, stop: asyncio.Event) -> None:
    """Serves until `stop`. Raises MeshError where it cannot start; an ExceptionGroup where a task failed."""
    gc.set_threshold(*COLLECT_AFTER)
    from control_plane.alone import only_process, store_url
    from control_plane.assembly import ControlPlane  # SQLAlchemy and all that: `--help` should not wait for it
    from control_plane.store import open_stores

    _allow_connections()
    data_dir = private_directory(settings.data_dir.resolve())
    url = store_url(settings.database_url, data_dir)
    with only_process(data_dir, url):
        remove_leftovers(data_dir, data_dir / "identity", data_dir / "sources")
        async with open_stores(url) as stores:
            plane = ControlPlane(settings, data_dir, stores, rng=random.Random())
            try:
                await plane.start()
                await run_tasks(plane.tasks, stop)
            finally:
                await plane.stop(DRAIN_S)


def _allow_connections() -> None:
    """Each agent is an open file: as many as the system allows this process, where its own limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def run_tasks(
    tasks: Mapping[str, Callable[[], Coroutine[Any, Any, None]]],
    stop: asyncio.Event,
    *,
    interrupted_s: float = INTERRUPTED_S,
) -> None:
    """Runs long tasks, by name, until `stop`; one that a MeshError ends begins again after `interrupted_s`.

    Raises an ExceptionGroup where one fails for any other reason.
    """
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(_kept_running(name, task, interrupted_s), name=name) for name, task in tasks.items()
        ]
        await stop.wait()
        for task in running:
            task.cancel()


async def _kept_running(name: str, run_task: Callable[[], Coroutine[Any, Any, None]], interrupted_s: float) -> None:
    try:
        while True:
            try:
                await in_own_task(run_task())
            except* MeshError as errors:
                log.warning("task_interrupted", task=name, why=str(errors.exceptions[0]))
            await asyncio.sleep(interrupted_s)
    except Exception:  # the life of a task ends here, and with it the process
        log.exception("task_failed", task=name)
        raise
