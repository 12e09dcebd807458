"""`waypost host test`: a package, tried in a process of its own (`trial`), and what came out.

The exit code is 0 where every check passed, and 1 else; also where the process crashed, was left by a template, or did
not end in time.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference_host.workbench.settings import TestSettings
from inference_host.workbench.wanted import TRIAL, Wanted
from mesh import text
from mesh.files import write_atomically
from mesh.signals import signal_name
from waypost.errors import Invalid

READABLE = 0o644


def run(chosen: TestSettings) -> int:
    """Returns the exit code. Raises: MeshError where nothing can be recorded."""
    report = tried(chosen)
    recorded = report.pop("recorded", "")
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if chosen.output == "json" else _table(report))
    if chosen.record and report["ok"]:
        sys.stderr.write(f"\nrecorded these answers in {record(chosen.package, recorded)}\n")
    return 0 if report["ok"] else 1


def tried(chosen: TestSettings) -> dict[str, Any]:
    """The report of `trial`, or one that says how it ended without one."""
    with tempfile.TemporaryDirectory(prefix="waypost-", ignore_cleanup_errors=True) as scratch:
        return _tried(chosen, scratch)


def _tried(chosen: TestSettings, scratch: str) -> dict[str, Any]:
    wanted = Wanted(
        package=str(chosen.package.absolute()),
        scratch=scratch,
        rtol=chosen.rtol,
        atol=chosen.atol,
        compare=not chosen.record,
        ends_at=time.monotonic() + chosen.timeout_s,
    )
    command = [sys.executable, "-P", "-m", TRIAL, json.dumps(dataclasses.asdict(wanted))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        report, _ = process.communicate(timeout=chosen.timeout_s)
    except subprocess.TimeoutExpired:
        return _none("TIMED_OUT", f"it did not end within {chosen.timeout_s:g} s", "where it was stands above")
    finally:
        process.kill()
        process.wait()
    if not report:
        return _none("DIED", f"the package ended its process: {_end(process.returncode)}", "what it said stands above")
    found: dict[str, Any] = json.loads(report)
    return found


def record(package: Path, samples: str) -> Path:
    """Writes samples.json, and returns where. Raises: Invalid(NO_JSON_FORM)."""
    if not samples:
        raise Invalid("NO_JSON_FORM", "these answers have no JSON form", "test the model without recorded outputs")
    from inference_host.model.manifest import SAMPLES  # loads protobuf, which the usual test needs in its child only

    path = (package if package.is_dir() else package.parent) / SAMPLES
    write_atomically(path, samples.encode(), READABLE)
    return path


def _none(reason: str, message: str, hint: str) -> dict[str, Any]:
    return {"ok": False, "reason": reason, "message": message, "hint": hint, "checks": []}


def _end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal_name(-code)


def _table(report: Mapping[str, Any]) -> str:
    if not report["checks"]:
        hint = f"\n\nhint: {report['hint']}" if report["hint"] else ""
        return f"FAILED  {report['reason']}: {report['message']}{hint}\n"
    what = f" ({report['template_class']})" if report["template_class"] else ""
    rows = [_row(check) for check in report["checks"]]
    passed = sum(check["ok"] for check in report["checks"])
    return (
        f"{report['model']}{what}: {report['signature']}\n"
        f"loaded in {text.duration(report['load_ms'] / 1e3)}, {_confined(report['isolation'])}\n\n"
        f"{text.table(('CHECK', 'WAY', 'RESULT', 'P50', 'P99', ''), rows)}\n\n"
        f"{passed} of {len(rows)} checks passed\n"
    )


def _confined(isolation: Mapping[str, Any]) -> str:
    network = "without a network" if isolation["network"] else isolation["network_reason"]
    files = "with no files but its own" if isolation["files"] else isolation["files_reason"]
    return f"{network}, {files}"


def _row(check: Mapping[str, Any]) -> tuple[str, ...]:
    times = ["" if check[name] is None else text.duration(check[name] / 1e3) for name in ("p50_ms", "p99_ms")]
    return (check["what"], check["way"], "ok" if check["ok"] else "FAILED", *times, check["detail"])
