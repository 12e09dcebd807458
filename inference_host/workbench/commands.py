"""`waypost host init`, `test` and `bench`, from flags to exit codes.

Each loads its code when its flags have been read: who asks for help, or mistypes one, does not wait for it.
"""

import importlib
import sys
from collections.abc import Sequence

from inference_host.workbench.settings import BenchSettings, InitSettings, TestSettings
from mesh import serve
from mesh.settings import Settings, load
from waypost.errors import MeshError

INTERRUPTED = 130


def init(argv: Sequence[str]) -> int:
    return _run("init", InitSettings, argv)


def test(argv: Sequence[str]) -> int:
    return _run("test", TestSettings, argv)


def bench(argv: Sequence[str]) -> int:
    return _run("bench", BenchSettings, argv)


def _run(name: str, kind: type[Settings], argv: Sequence[str]) -> int:
    """The exit code of `run` in the module of that name; whatever goes wrong is said as everywhere."""
    try:
        chosen = load(kind, argv, prog=f"waypost host {name}", env_prefix=f"WAYPOST_HOST_{name.upper()}_")
        return int(importlib.import_module(f"inference_host.workbench.{name}").run(chosen))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (MeshError, OSError) as error:
        sys.stderr.write(serve.render(error) if isinstance(error, MeshError) else f"error: {error}\n")
        return 1
