"""`waypost host init`, `test` and `bench`, from flags to exit codes. Each loads its code when it is asked for."""

import sys
from collections.abc import Callable, Sequence

from inference_host.workbench.settings import BenchSettings, InitSettings, TestSettings
from mesh import serve
from mesh.settings import load
from waypost.errors import MeshError

INTERRUPTED = 130


def init(argv: Sequence[str]) -> int:
    from inference_host.workbench.init import run

    return _guarded(lambda: run(load(InitSettings, argv, prog="waypost host init", env_prefix="WAYPOST_HOST_INIT_")))


def test(argv: Sequence[str]) -> int:
    from inference_host.workbench.test import run

    return _guarded(lambda: run(load(TestSettings, argv, prog="waypost host test", env_prefix="WAYPOST_HOST_TEST_")))


def bench(argv: Sequence[str]) -> int:
    from inference_host.workbench.bench import run

    return _guarded(lambda: run(load(BenchSettings, argv, prog="waypost host bench", env_prefix="WAYPOST_HOST_BENCH_")))


def _guarded(command: Callable[[], int]) -> int:
    """The exit code; whatever goes wrong is said as everywhere."""
    try:
        return command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (MeshError, OSError) as error:
        sys.stderr.write(serve.render(error) if isinstance(error, MeshError) else f"error: {error}\n")
        return 1
