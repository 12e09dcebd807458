"""The `host` command: `run` serves, `check` looks at a package without trusting it; the others help to write one.

    python -m inference_host run MODEL                      by hand
    python -m inference_host run --settings FILE            at a position: its agent wrote the file
    python -m inference_host check PACKAGE                  see check/
    python -m inference_host init | test | bench            see workbench/

Exit codes of `run`: 0 after SIGTERM, 1 where it could not start (a taken port, a wrong setting), 3 where no model could
be loaded. In the last two cases `failure.json` beside the settings file says why, for the agent; the reason is also
the last thing that is logged.

This module decides which command is meant; what a command needs is imported by that command. A host takes 0.3 s to
import, for which nobody who asks for help should wait.
"""

import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from inference_host.failure_note import FailureNote
from inference_host.settings import ENV_PREFIX, HostSettings
from mesh import serve, settings
from waypost.errors import MeshError

USAGE = """usage: waypost host {init,run,test,bench,check} ...

  init [DIR]       write a small package that runs: a function, a scikit-learn or an ONNX model
  run MODEL        serve a model over the Open Inference Protocol, gRPC and HTTP on one port
  test [PACKAGE]   send a package its samples, by hand, over gRPC and over HTTP, and compare the answers
  bench MODEL      measure a model under load
  check PACKAGE    load a package in a confined process and tell whether it can be served

`waypost host run --help`, for instance, says more.
"""
COMMANDS = ("init", "run", "test", "bench", "check")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""
    match list(argv):
        case ["run", *rest]:
            return _run(rest)
        case ["check", *rest]:
            from inference_host.check import checker

            return checker.main(rest)
        case ["init" | "test" | "bench" as name, *rest]:
            from inference_host.workbench import commands

            command: Callable[[Sequence[str]], int] = getattr(commands, name)
            return command(rest)
        case ["-h" | "--help", *_]:
            sys.stdout.write(USAGE)
            return 0
        case [unknown, *_]:
            near = get_close_matches(unknown, COMMANDS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            hint = "`waypost host --help` shows them"
            sys.stderr.write(f"error: `waypost host` has no command {unknown!r}{meant}\n\nhint: {hint}\n")
            return 2
    sys.stderr.write(USAGE)
    return 2


def _run(argv: Sequence[str]) -> int:
    note = FailureNote(argv)
    try:
        note.remove()
        chosen = settings.load(HostSettings, argv, prog="waypost host run", env_prefix=ENV_PREFIX)
    except MeshError as error:
        note.write(error)
        sys.stderr.write(serve.render(error))
        return 1
    from inference_host import running  # and with it the host, before it forks

    return running.run(chosen, note)
