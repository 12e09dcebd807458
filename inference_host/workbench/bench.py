"""`waypost host bench`: a host under load, measured from outside it.

    waypost host bench MODEL                     starts a host in a process of its own, and stops it again
    waypost host bench --target HOST:PORT        any host that runs; with MODEL, what MODEL's samples.json holds is sent

This process only drives: `client` and `load` cost a call less than the host does, and where they are the limit all the
same the report says so. What is sent comes from samples.json, else it is made up from the signature that the host
tells. The host's own statistics say how many rows went together; its CPU time is read from the kernel.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from inference_host.workbench import client, figures
from inference_host.workbench.client import Method
from inference_host.workbench.figures import Batches, Measured
from inference_host.workbench.host_process import HostProcess, started
from inference_host.workbench.load import Load, Shape
from inference_host.workbench.settings import BenchSettings
from inference_host.workbench.subject import OIP, Counted, Subject, requests_for, subject_of
from mesh import text
from waypost.errors import Invalid

STREAMS = 100  # callers on a connection: what servers allow at least (RFC 9113, section 6.5.2)
OPEN_CONNECTIONS = 4  # open loop: as a gateway has to a host
WARM_UP_SHARE, WARM_UP_S_MAX = 0.2, 1.0  # of the time that is measured; estimates have settled long before


def run(chosen: BenchSettings) -> int:
    """Returns the exit code: 1 where not one call was answered. Raises: MeshError."""
    with _host(chosen) as host:
        report = asyncio.run(_measured(chosen, host))
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if chosen.output == "json" else _table(report))
    return 0 if report["calls_answered"] else 1


def _host(chosen: BenchSettings) -> AbstractContextManager[HostProcess]:
    """Raises: Invalid(BAD_SETTING)."""
    if chosen.target:
        return nullcontext(HostProcess(chosen.target))
    if chosen.model is None:
        raise Invalid("BAD_SETTING", "there is nothing to measure", "waypost host bench MODEL, or --target HOST:PORT")
    return started(chosen.model)


async def _measured(chosen: BenchSettings, host: HostProcess) -> dict[str, Any]:
    """The report. Raises: MeshError."""
    count = OPEN_CONNECTIONS if chosen.rate else -(-chosen.in_flight // STREAMS)
    besides, *clients = [await client.connect(host.address) for _ in range(count + 1)]
    try:
        subject = await subject_of(besides, chosen.name)
        requests = await requests_for(besides, subject, chosen.model)
        counted = Counted(besides, subject.model)
        load = Load(clients, Method.at(f"{OIP}/ModelInfer"), requests, _shape(chosen), host.cpu_s)
        measured = await load.run(counted.ask, counted.ask)
        return _report(chosen, host, subject, measured, await counted.batches())
    finally:
        for each in (besides, *clients):
            each.close()


def _shape(chosen: BenchSettings) -> Shape:
    return Shape(
        in_flight=chosen.in_flight,
        rate=chosen.rate,
        warm_up_s=min(WARM_UP_S_MAX, WARM_UP_SHARE * chosen.seconds),
        seconds=chosen.seconds,
        deadline_s=chosen.deadline_ms / 1e3,
    )


def _report(
    chosen: BenchSettings, host: HostProcess, subject: Subject, measured: Measured, batches: Batches | None
) -> dict[str, Any]:
    load = {"rate": chosen.rate} if chosen.rate else {"in_flight": chosen.in_flight}
    return {
        "model": subject.model,
        "address": host.address,
        "signature": str(subject.signature),
        **load,
        "deadline_ms": chosen.deadline_ms or None,
        **figures.summary(measured, batches),
        "host_memory_bytes": host.memory_bytes(),
    }


def _table(report: Mapping[str, Any]) -> str:
    lines = [f"{report['model']} at {report['address']}: {report['signature']}", _load_line(report), ""]
    lines.append(text.table(("FIGURE", "VALUE"), _rows(report)))
    if report["driver_is_the_limit"]:
        lines += ["", f"note: {report['driver_is_the_limit']}"]
    return "\n".join(lines) + "\n"


def _load_line(report: Mapping[str, Any]) -> str:
    how = (
        f"{report['rate']:g} calls a second, at random times"
        if "rate" in report
        else f"{report['in_flight']} in flight"
    )
    deadline = f", each within {report['deadline_ms']:g} ms" if report["deadline_ms"] else ""
    return f"{how}{deadline}, for {report['seconds']:g} s"


def _rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("calls", f"{report['calls_answered']} answered, {report['calls_per_s']:,.0f} a second")]
    if report["deadline_ms"]:
        rows.append(("in time", text.share(report["calls_in_time"] / max(1, report["calls_due"]))))
    rows += [(f"latency {name}", text.duration(value / 1e3)) for name, value in report["latency_ms"].items()]
    if report["host_cpu_us_per_call"] is not None:
        cpu, cores = report["host_cpu_us_per_call"] / 1e6, report["host_cores"]
        rows.append(("host's CPU", f"{text.duration(cpu)} a call, {cores:.2f} cores"))
        rows.append(("host's memory", text.size(report["host_memory_bytes"])))
    rows.append(("driver's CPU", f"{text.duration(report['driver_cpu_us_per_call'] / 1e6)} a call"))
    if report["batches"]:
        runs = ", ".join(f"{span} in {count}" for span, count in figures.spans(report["batches"]).items())
        rows.append(("rows together", f"{report['batch_rows_mean']:.1f} on average; {runs} runs"))
    errors = [(f"error {name}", f"{count} calls") for name, count in sorted(report["errors"].items())]
    return [*rows, *(errors or [("errors", "none")])]
