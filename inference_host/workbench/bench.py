"""`waypost host bench`: a host under load, measured from outside it.

    waypost host bench MODEL                     starts a host in a process of its own, and stops it again
    waypost host bench --target HOST:PORT        any host that runs; with MODEL, what MODEL's samples.json holds is sent

This process only drives: `client` and `load` cost a call less than the host does, and where they are the limit all the
same the report says so. What is sent comes from samples.json, else it is made up from the signature that the host
tells. The host's own statistics say how many rows went together; its CPU time is read from the kernel.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from inference_host.loader import SAMPLE_SIZES
from inference_host.manifest import SAMPLES
from inference_host.signature import Signature, TensorSpec
from inference_host.workbench import client, figures, samples
from inference_host.workbench.client import Client, Method
from inference_host.workbench.figures import Batches, Measured
from inference_host.workbench.load import Load, Shape
from inference_host.workbench.samples import Sample
from inference_host.workbench.settings import BenchSettings
from mesh import text
from waypost.api.inference.v1 import inference_pb2, repository_pb2, statistics_pb2
from waypost.errors import Invalid, MeshError, Precondition

OIP = "/inference.GRPCInferenceService"
LISTENS = "gRPC and HTTP"  # what stands before the address in a host's greeting
STREAMS = 100  # callers on a connection: what servers allow at least (RFC 9113, section 6.5.2)
OPEN_CONNECTIONS = 4  # open loop: as a gateway has to a host
WARM_UP_SHARE, WARM_UP_S_MAX = 0.2, 1.0  # of the time that is measured; estimates have settled long before
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under load."""

    model: str
    signature: Signature


def run(chosen: BenchSettings) -> int:
    """Returns the exit code: 1 where not one call was answered. Raises: MeshError."""
    if chosen.model is None and not chosen.target:
        raise Invalid("BAD_SETTING", "there is nothing to measure", "waypost host bench MODEL, or --target HOST:PORT")
    if chosen.target:
        report = asyncio.run(_measured(chosen, chosen.target, _no_process))
    else:
        with _host(chosen) as (address, process):
            report = asyncio.run(_measured(chosen, address, lambda: process))
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if chosen.output == "json" else _table(report))
    return 0 if report["calls_answered"] else 1


@contextmanager
def _host(chosen: BenchSettings) -> Iterator[tuple[str, psutil.Process]]:
    """A host for this model, ready; its log goes where ours does. Raises: Precondition(NOT_STARTED)."""
    assert chosen.model is not None
    command = [sys.executable, "-m", "inference_host", "run", str(chosen.model), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            before, _, address = line.strip().partition("  ")
            if before == LISTENS:
                break
        else:
            hint = f"`waypost host test {chosen.model}` says more"
            raise Precondition("NOT_STARTED", f"the host ended with exit code {process.wait()}", hint)
        yield address.strip(), psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _no_process() -> None:
    """A host that somebody else has started."""


async def _measured(
    chosen: BenchSettings, address: str, process: Callable[[], psutil.Process | None]
) -> dict[str, Any]:
    """Raises: MeshError."""
    count = OPEN_CONNECTIONS if chosen.rate else -(-chosen.in_flight // STREAMS)
    besides, *clients = [await client.connect(address) for _ in range(count + 1)]
    try:
        subject = await _subject(besides, chosen.name)
        requests = [
            client.framed(samples.to_grpc(sample, subject.model)) for sample in await _samples(besides, subject, chosen)
        ]
        shape = Shape(
            in_flight=chosen.in_flight,
            rate=chosen.rate,
            warm_up_s=min(WARM_UP_S_MAX, WARM_UP_SHARE * chosen.seconds),
            seconds=chosen.seconds,
            deadline_s=chosen.deadline_ms / 1e3,
        )
        counted = _Counted(besides, subject.model)
        load = Load(clients, Method.at(f"{OIP}/ModelInfer"), requests, shape, lambda: _cpu_s(process()))
        measured = await load.run(counted.ask, counted.ask)
        memory = _memory_bytes(process())
        return _report(chosen, address, subject, measured, await counted.batches(), memory)
    finally:
        for each in (besides, *clients):
            each.close()


# -- what is sent


async def _subject(connection: Client, wanted: str) -> Subject:
    """Raises: Invalid(SEVERAL_MODELS); NotFound, Unavailable as the host says."""
    name = wanted or await _only_model(connection)
    request = inference_pb2.ModelMetadataRequest(name=name).SerializeToString()
    answer = await connection.call(f"{OIP}/ModelMetadata", request)
    found = inference_pb2.ModelMetadataResponse.FromString(answer)
    return Subject(name, Signature(_specs(found.inputs), _specs(found.outputs)))


async def _only_model(connection: Client) -> str:
    request = repository_pb2.RepositoryIndexRequest(ready=True).SerializeToString()
    answer = await connection.call(f"{OIP}/RepositoryIndex", request)
    models = repository_pb2.RepositoryIndexResponse.FromString(answer).models
    if len(models) != 1:
        found = ", ".join(model.name for model in models) or "none"
        raise Invalid("SEVERAL_MODELS", f"the host serves several models: {found}", "choose one with --name")
    return str(models[0].name)


def _specs(messages: Any) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in messages)


async def _samples(connection: Client, subject: Subject, chosen: BenchSettings) -> Sequence[Sample]:
    """Those of the package, else the first made-up size that the model takes. Raises: MeshError."""
    folder = None if chosen.model is None else chosen.model if chosen.model.is_dir() else chosen.model.parent
    if folder is not None and (folder / SAMPLES).is_file():
        return samples.read(folder / SAMPLES)
    refusal: MeshError | None = None
    for size in SAMPLE_SIZES:
        sample = samples.made_up(subject.signature, size)
        try:
            await connection.call(f"{OIP}/ModelInfer", samples.to_grpc(sample, subject.model))
        except MeshError as error:
            refusal = refusal or error
        else:
            return [sample]
    assert refusal is not None
    raise Precondition(
        "NO_SAMPLES",
        f"no made-up request went through {subject.model}: {refusal.message}",
        f"name a package with a {SAMPLES} besides: waypost host bench DIR --target HOST:PORT",
    )


# -- what the host says of itself


class _Counted:
    """The host's own statistics, when the window opens and when it closes."""

    def __init__(self, connection: Client, model: str) -> None:
        """connection: one with nothing else to do."""
        self._connection = connection
        self._request = statistics_pb2.ModelStatisticsRequest(name=model).SerializeToString()
        self._answers: list[asyncio.Future[bytes | MeshError]] = []

    def ask(self) -> None:
        answer: asyncio.Future[bytes | MeshError] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._connection.begin(Method.at(f"{OIP}/ModelStatistics"), client.framed(self._request), answer.set_result)

    async def batches(self) -> Batches | None:
        """None for a host that does not tell."""
        before, after = [await answer for answer in self._answers]
        if isinstance(before, MeshError) or isinstance(after, MeshError):
            return None
        (_, first), (_, last) = _counts(before), _counts(after)
        runs = {rows: count - first.get(rows, 0) for rows, count in last.items()}
        rows = _counts(after)[0] - _counts(before)[0]
        return Batches({size: count for size, count in runs.items() if count}, rows)


def _counts(answer: bytes) -> tuple[int, Mapping[int, int]]:
    """Rows answered, and runs by rows."""
    (model,) = statistics_pb2.ModelStatisticsResponse.FromString(answer).model_stats
    return model.inference_count, {each.batch_size: each.compute_infer.count for each in model.batch_stats}


def _family(process: psutil.Process) -> Sequence[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process | None) -> float | None:
    if process is None:
        return None
    times = [each.cpu_times() for each in _family(process)]
    return float(sum(each.user + each.system for each in times))


def _memory_bytes(process: psutil.Process | None) -> int | None:
    return None if process is None else sum(each.memory_info().rss for each in _family(process))


# -- the report


def _report(
    chosen: BenchSettings,
    address: str,
    subject: Subject,
    measured: Measured,
    batches: Batches | None,
    memory: int | None,
) -> dict[str, Any]:
    load = {"rate": chosen.rate} if chosen.rate else {"in_flight": chosen.in_flight}
    return {
        "model": subject.model,
        "address": address,
        "signature": str(subject.signature),
        **load,
        "deadline_ms": chosen.deadline_ms or None,
        **figures.summary(measured, batches),
        "host_memory_bytes": memory,
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
