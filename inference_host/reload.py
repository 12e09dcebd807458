"""`waypost host run --reload`: what is served follows the files, while a developer writes them.

The files are looked at twice a second; when they have changed and rest again, every model is read anew. The version
that serves does so until the new one has answered its samples (repository.load), so a template that cannot be loaded
costs nobody a call: the terminal says why, and the next change tries again. So does one whose very first load failed.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from inference_host.serving.dataplane import DataPlane
from inference_host.settings import HostSettings
from mesh import serve, text
from waypost.errors import Invalid, MeshError

POLL_S = 0.5  # sooner than a person changes windows; a package is a few files
REST_S = 0.1  # editors write a file in several steps
CACHE = "__pycache__"

State: TypeAlias = Mapping[Path, tuple[int, int]]
"""When each file was changed (ns) and its size."""


def state(path: Path) -> State:
    """Of a file, or of the files of a directory; without hidden ones and caches."""
    files = _files(path) if path.is_dir() else [path]
    found: dict[Path, tuple[int, int]] = {}
    for file in files:
        try:
            about = file.stat()
        except OSError:  # it has just gone
            continue
        found[file] = (about.st_mtime_ns, about.st_size)
    return found


def watched(settings: HostSettings) -> Path:
    """Raises: Invalid(BAD_SETTING) where there is nothing of somebody's own to watch."""
    if settings.model is None or settings.position_uid:
        raise Invalid("BAD_SETTING", "--reload is for a model that is served by hand", "waypost host run DIR --reload")
    return settings.model


async def until_stopped(host: Callable[[], Awaitable[MeshError | None]], path: Path, stop: asyncio.Event) -> None:
    """Runs `host`, and again with the next change where it returns why it could not load; until `stop`."""
    while not stop.is_set():
        seen = state(path)
        failure = await host()
        if failure is not None:
            sys.stderr.write(f"{serve.render(failure)}\nwaiting for a change in {path}\n")
            await _change_or_stop(path, seen, stop)


@asynccontextmanager
async def following(plane: DataPlane, path: Path | None) -> AsyncIterator[None]:
    """Loads what `plane` serves anew with every change of the files at `path`; None: does nothing."""
    async with asyncio.TaskGroup() as tasks:
        task = None if path is None else tasks.create_task(_follow(plane, path, state(path)), name="reload")
        try:
            yield
        finally:
            if task is not None:
                task.cancel()


async def _change_or_stop(path: Path, seen: State, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(wait) for wait in (_change(path, seen), stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _change(path: Path, before: State) -> State:
    """Waits until the files are no longer as `before` and have come to rest. Returns how they are then."""
    now = before
    while now == before:
        await asyncio.sleep(POLL_S)
        now = await asyncio.to_thread(state, path)
    while (later := await _a_little_later(path)) != now:
        now = later
    return now


async def _follow(plane: DataPlane, path: Path, seen: State) -> None:
    while True:
        seen = await _change(path, seen)
        for served in plane.served:
            await _load(plane, served.package.model, path)


async def _load(plane: DataPlane, model: str, path: Path) -> None:
    began = perf_counter()
    forget(path)
    try:
        await plane.load(model)
    except MeshError as error:
        sys.stderr.write(f"{serve.render(error)}\nthe version of {model} before this change serves on\n")
    else:
        sys.stdout.write(f"reloaded {model} in {text.duration(perf_counter() - began)}\n")
        sys.stdout.flush()


def forget(path: Path) -> None:
    """Drops the modules that a template imported from its directory by plain `import features`.

    Those of `from . import features` stand under a name that each load has for itself.
    """
    directory = path.resolve()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not name.startswith("waypost_package_") and Path(file).resolve().is_relative_to(directory):
            del sys.modules[name]
    importlib.invalidate_caches()


def _files(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".") and name != CACHE]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


async def _a_little_later(path: Path) -> State:
    await asyncio.sleep(REST_S)
    return await asyncio.to_thread(state, path)
