"""`waypost host check PACKAGE`: can this version be served? Asked before anybody deploys it.

The package is loaded and its samples run by the host's own code (loader.py), in this process, after it has shut itself
in (confine.py). One JSON object goes to stdout, whatever a template prints itself (that goes to stderr):

    {"ok": true, "reason": "", "message": "...", "hint": "", "signature": {...}, "isolation": {...}}

Exit code 0 where it can be served and 1 where not. A package may also crash, leave or hang the process: what has given
no JSON cannot be served, whatever its exit code; noticing that, and a wall clock, are the caller's part.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_host import confine

USAGE = "usage: waypost host check PACKAGE\n"


def main(argv: Sequence[str]) -> int:
    """argv: without program and subcommand."""
    match list(argv):
        case ["-h" | "--help"]:
            sys.stdout.write(f"{USAGE}\n{__doc__}")
            return 0
        case [package] if not package.startswith("-"):
            confine.enter("inference_host", "check", os.path.abspath(package))
        case [package, confined, why_network] if confined == confine.CONFINED:
            return _check_confined(Path(package), why_network)
    sys.stderr.write(USAGE)
    return 2


def _check_confined(package: Path, why_network: str) -> int:
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    verdict = asyncio.run(_check(package))
    verdict["isolation"] = confine.told(why_network)
    result.write(json.dumps(verdict) + "\n")
    result.flush()
    os._exit(0 if verdict["ok"] else 1)  # a template's own threads and exit handlers have no say in it


async def _check(path: Path) -> dict[str, Any]:
    from inference_host import loader
    from inference_host.execution import Execution
    from inference_host.manifest import read, to_proto
    from waypost.errors import MeshError

    try:
        async with Execution(1) as execution:
            loaded = await loader.load(read(path), execution, threads=1)
            warm = await loader.warm_up(loaded, execution)
    except MeshError as error:
        return {"ok": False, "reason": error.reason, "message": error.message, "hint": error.hint, "signature": None}
    message = f"{len(warm.samples)} sample(s) went through {loaded.package.full_name}"
    return {"ok": True, "reason": "", "message": message, "hint": "", "signature": _json(to_proto(loaded.signature))}


def _json(signature: Any) -> dict[str, Any]:
    """ProtoJSON of control.v1.Signature, with plain numbers."""
    return {
        side: [
            {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
            for spec in getattr(signature, side)
        ]
        for side in ("inputs", "outputs")
    }
