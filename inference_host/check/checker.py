"""`waypost host check PACKAGE`: can this version be served? Asked before anybody deploys it.

The package is loaded and its samples run by the host's own code (loader.py), in this process, after it has shut itself
in (confine.py). One JSON object goes to stdout, whatever a template prints itself (that goes to stderr):

    {"ok": true, "reason": "", "message": "...", "hint": "", "signature": {...}, "isolation": {...}}

By hand, what the kernel does not close is a warning: the package is one's own. The control plane checks strangers': for
it, a template is refused then (CHECK_UNCONFINED), unless its operator has said otherwise. An ONNX graph brings no code,
and no libraries of operators are loaded for it: it is confined like the rest, and checked also where that fails.

Exit code 0 where it can be served and 1 where not. A package may also crash, leave or hang the process: what has given
no JSON cannot be served, whatever its exit code; noticing that, and a wall clock, are the caller's part.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_host.check import confine

USAGE = "usage: waypost host check PACKAGE\n"

HOWS = BY_HAND, CLOSED, OPEN = "--by-hand", "--closed", "--open"
"""Where files are open to a template: warn, refuse, or neither. The control plane says one of the latter two."""


def main(argv: Sequence[str]) -> int:
    """argv: without program and subcommand; of the control plane: PACKAGE SCRATCH --closed (or --open)."""
    match list(argv):
        case ["-h" | "--help"]:
            sys.stdout.write(f"{USAGE}\n{__doc__}")
            return 0
        case [package] if not package.startswith("-"):
            return _by_hand(os.path.abspath(package))
        case [package, scratch, how] if how in HOWS:
            confine.enter(*("inference_host", "check", package, how), package=Path(package), scratch=Path(scratch))
        case [package, how, confine.CONFINED, why_network, why_files] if how in HOWS:
            return _check_confined(Path(package), how, confine.Open(why_network, why_files))
    sys.stderr.write(USAGE)
    return 2


def _by_hand(package: str) -> int:
    """With a scratch folder that is gone afterwards, for which somebody must outlive the check."""
    with tempfile.TemporaryDirectory(prefix="waypost-check-", ignore_cleanup_errors=True) as scratch:
        command = [sys.executable, "-P", "-m", "inference_host", "check", package, scratch, BY_HAND]
        code = subprocess.run(command, check=False).returncode
    if code < 0:  # a caller that looks at how we ended sees how the package did
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -code)
    return code


def _check_confined(package: Path, how: str, is_open: confine.Open) -> int:
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if is_open.files and how == BY_HAND:
        sys.stderr.write(f"warning: the package could use all of your files: {is_open.files}\n")
    verdict = asyncio.run(_check(package, is_open.files if how == CLOSED else ""))
    verdict["isolation"] = confine.told(is_open)
    result.write(json.dumps(verdict) + "\n")
    result.flush()
    os._exit(0 if verdict["ok"] else 1)  # a template's own threads and exit handlers have no say in it


async def _check(path: Path, why_unsafe: str) -> dict[str, Any]:
    """why_unsafe: to run a template's code; empty: it is not."""
    from inference_host.model.manifest import read, to_proto
    from inference_host.serving import loader
    from inference_host.serving.execution import Execution
    from waypost.errors import MeshError

    try:
        package = read(path)
        if package.template_class and why_unsafe:
            raise _unconfined(why_unsafe)
        async with Execution(1) as execution:
            loaded = await loader.load(package, execution, threads=1)
            warm = await loader.warm_up(loaded, execution)
    except MeshError as error:
        return {"ok": False, "reason": error.reason, "message": error.message, "hint": error.hint, "signature": None}
    message = f"{len(warm.samples)} sample(s) went through {loaded.package.full_name}"
    return {"ok": True, "reason": "", "message": message, "hint": "", "signature": _json(to_proto(loaded.signature))}


def _unconfined(why: str) -> Exception:
    from waypost.errors import Precondition

    return Precondition(
        "CHECK_UNCONFINED",
        f"files cannot be closed to the check of a template: {why}",
        "run the control plane on Linux 6.2 or newer with Landlock switched on; or, where you trust everybody who may "
        "publish, start it with --allow-unconfined-checks",
    )


def _json(signature: Any) -> dict[str, Any]:
    """ProtoJSON of control.v1.Signature, with plain numbers."""
    return {
        side: [
            {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
            for spec in getattr(signature, side)
        ]
        for side in ("inputs", "outputs")
    }
