"""`waypost backup` and `waypost restore`, as far as their arguments; the work is imported when there is some."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from control_plane.backups.settings import ENV_PREFIX, BackupSettings, RestoreSettings
from mesh import serve
from mesh.settings import Settings, load
from waypost.errors import MeshError

S = TypeVar("S", bound=Settings)

INTERRUPTED = 130


def backup(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""

    def work(settings: BackupSettings) -> Coroutine[Any, Any, str]:
        from control_plane.backups.backup import back_up

        return back_up(settings)

    return _run("backup", BackupSettings, argv, work)


def restore(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""

    def work(settings: RestoreSettings) -> Coroutine[Any, Any, str]:
        from control_plane.backups.restore import restore_from

        return restore_from(settings)

    return _run("restore", RestoreSettings, argv, work)


def _run(verb: str, kind: type[S], argv: Sequence[str], work: Callable[[S], Coroutine[Any, Any, str]]) -> int:
    """work: returns what to tell."""
    try:
        told = asyncio.run(work(load(kind, argv, prog=f"waypost {verb}", env_prefix=ENV_PREFIX)))
    except MeshError as error:
        sys.stderr.write(serve.render(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    sys.stdout.write(told)
    return 0
