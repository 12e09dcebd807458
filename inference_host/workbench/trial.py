"""The inside of `waypost host test`: a real host in this process, confined as `waypost host check` is, and its caller.

Every sample goes through the model three times over: by hand (the data plane, which is all steps without a wire), over
gRPC and over HTTP (a Unix socket of its own). Rows that may go together must come out as they do alone. One JSON object
goes to stdout, whatever a template prints itself; what a template raises goes to stderr, in its author's own lines.

A template may crash, leave or hang this process; noticing that is the part of `test`, which has started it.
"""

import asyncio
import faulthandler
import json
import os
import sys
import tempfile
import traceback
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import structlog

from inference_host.check import confine
from inference_host.host import Host
from inference_host.model import manifest
from inference_host.serving import calibration
from inference_host.serving.loader import Warm
from inference_host.settings import HostSettings
from inference_host.values.oip_json import BINARY_ONLY
from inference_host.values.tensors import Tensor
from inference_host.workbench import checks, client, figures, samples
from inference_host.workbench.samples import Sample
from inference_host.workbench.unix_http import Http
from inference_host.workbench.wanted import TRIAL, Wanted
from inference_host.workbench.ways import Ask, by_hand, over_grpc, over_http
from waypost.errors import MeshError

RUNS_MAX = 50  # for each way of each sample; p99 is the worst but one then
RUNS_S_MAX = 0.3  # for the same: ten samples of a slow model are still a matter of seconds
LAST_WORDS_S = 0.5


@dataclass(slots=True)
class Check:
    """One line of the report."""

    what: str
    way: str
    detail: str = ""
    """Why not; or a word about what was seen, where it is ok."""
    ok: bool = True
    times_s: list[float] = field(default_factory=list)

    def failed(self, detail: str) -> None:
        self.ok, self.detail = False, detail

    def told(self) -> dict[str, Any]:
        p50_s, p99_s = figures.percentiles(self.times_s, (0.5, 0.99)) if self.times_s else (None, None)
        times = {"p50_ms": p50_s and p50_s * 1e3, "p99_ms": p99_s and p99_s * 1e3, "runs": len(self.times_s)}
        return {"what": self.what, "way": self.way, "ok": self.ok, "detail": self.detail, **times}


def main(argv: Sequence[str]) -> int:
    """argv: the JSON of `Wanted`."""
    match list(argv):
        case [page]:
            wanted = Wanted(**json.loads(page))
            confine.enter(TRIAL, page, package=Path(wanted.package), scratch=Path(wanted.scratch), sockets=True)
        case [page, confine.CONFINED, why_network, why_files]:
            return _confined(Wanted(**json.loads(page)), confine.Open(why_network, why_files))
    return 2


def _confined(wanted: Wanted, is_open: confine.Open) -> int:
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()  # of a crash, the line where it was
    faulthandler.dump_traceback_later(max(0.1, wanted.ends_at - monotonic() - LAST_WORDS_S))
    structlog.configure(
        processors=[_tell], wrapper_class=structlog.make_filtering_bound_logger(40), cache_logger_on_first_use=True
    )
    report = asyncio.run(_tried(wanted))
    report["isolation"] = confine.told(is_open)
    result.write(json.dumps(report))
    result.flush()
    os._exit(0)  # a template's own threads and exit handlers have no say in it


async def _tried(wanted: Wanted) -> dict[str, Any]:
    try:
        package = manifest.read(Path(wanted.package))
        with tempfile.TemporaryDirectory(prefix="waypost-") as folder:
            address = f"unix:{folder}/host.sock"
            return await _Trial(Host(HostSettings(listen=address, grace_s=1.0), [package]), address, wanted).run()
    except MeshError as error:
        return {"ok": False, "reason": error.reason, "message": error.message, "hint": error.hint, "checks": []}


class _Trial:
    def __init__(self, host: Host, address: str, wanted: Wanted) -> None:
        self._host = host
        self._address = address
        self._wanted = wanted
        self._checks: list[Check] = []

    async def run(self) -> dict[str, Any]:
        """The report. Raises: MeshError where the model cannot be loaded."""
        began, stop, ready = perf_counter(), asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            hosting = tasks.create_task(self._host.run(stop, ready.set), name="host")
            waiting = tasks.create_task(ready.wait(), name="ready")
            await asyncio.wait({hosting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not hosting.done():
                load_s = perf_counter() - began
                try:
                    return {**await self._report(), "load_ms": load_s * 1e3}
                finally:
                    stop.set()
        failure = hosting.result()
        assert failure is not None
        raise failure

    async def _report(self) -> dict[str, Any]:
        (served,) = self._host.plane.served
        warm = served.warm
        assert warm is not None
        found = [sample if self._wanted.compare else replace(sample, expected=()) for sample in _samples(warm)]
        answers = await self._ask_all(found, warm)
        if all(check.ok for check in self._checks):
            await self._batch(warm, found, answers)
        return {
            "ok": all(check.ok for check in self._checks),
            "model": served.package.model,
            "template_class": served.package.template_class,
            "signature": str(warm.loaded.signature),
            "checks": [check.told() for check in self._checks],
            "recorded": _recorded(found, answers),
        }

    async def _ask_all(self, found: Sequence[Sample], warm: Warm) -> list[Sequence[Tensor]]:
        """The answers by hand, for as many samples as have one."""
        model = warm.loaded.package.model
        grpc = await client.connect(self._address)
        http = Http(self._address.removeprefix("unix:"))
        outputs = warm.loaded.signature.outputs
        binary = any(spec.datatype in BINARY_ONLY for spec in outputs)
        answers = []
        for number, sample in enumerate(found, 1):
            what = f"sample {number}"
            answers.append(await self._check(what, "by hand", sample, by_hand(self._host.plane, model)))
            await self._check(what, "gRPC", sample, over_grpc(grpc, model))
            await self._check(what, "HTTP", sample, over_http(http, model, binary=binary))
        grpc.close()
        http.close()
        return answers

    async def _check(self, what: str, way: str, sample: Sample, ask: Ask) -> Sequence[Tensor]:
        """The first answer is looked at, further ones are timed."""
        check = Check(what, way)
        self._checks.append(check)
        try:
            answer, _ = await ask(sample)
            if said := self._difference(answer, sample.expected):
                check.failed(said)
            elif sample.expected:
                check.detail = "as expected"
            until = perf_counter() + RUNS_S_MAX
            while len(check.times_s) < RUNS_MAX and (not check.times_s or perf_counter() < until):
                check.times_s.append((await ask(sample))[1])
        except MeshError as error:
            check.failed(f"{error.reason}: {error.message}")
            return ()
        return answer

    async def _batch(self, warm: Warm, found: Sequence[Sample], answers: Sequence[Sequence[Tensor]]) -> None:
        """Rows of several samples together, where its author says that they may go so."""
        loaded = warm.loaded
        if not loaded.batches:
            return
        if loaded.is_graph and not (calibration.has_rows(loaded.signature) and warm.together.apart):
            return
        check = Check("batch", "by hand")
        self._checks.append(check)
        if not calibration.has_rows(loaded.signature):
            check.failed("batches = True, but not every input and output begins with -1 in the signature")
        elif not warm.together.apart:
            check.failed("batches = True, but a row beside others is not answered as it is alone")
        else:
            await self._beside(check, warm, found, answers)

    async def _beside(
        self, check: Check, warm: Warm, found: Sequence[Sample], answers: Sequence[Sequence[Tensor]]
    ) -> None:
        together = checks.side_by_side([sample.inputs for sample in found])
        if together is None:
            check.detail = "samples of several sizes go apart"
            return
        try:
            answer, took_s = await by_hand(self._host.plane, warm.loaded.package.model)(Sample(tuple(together)))
        except MeshError as error:
            check.failed(f"{error.reason}: {error.message}")
            return
        check.times_s.append(took_s)
        check.detail = f"rows together as alone; up to {warm.together.rows_max} of calls that queue"
        at = 0
        for number, (sample, alone) in enumerate(zip(found, answers, strict=True), 1):
            rows = sample.inputs[0].shape[0]
            if said := self._difference(checks.rows_of(answer, at, at + rows), alone):
                check.failed(f"sample {number} beside the others: {said}")
                return
            at += rows

    def _difference(self, answer: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        return checks.difference(answer, expected, rtol=self._wanted.rtol, atol=self._wanted.atol)


def _samples(warm: Warm) -> list[Sample]:
    """Those of the package; where it has none, what was made up for its graph."""
    path = warm.loaded.package.samples_file
    if path is not None:
        return samples.read(path)
    return [samples.of_arrays(arrays, warm.loaded.signature) for arrays in warm.samples]


def _recorded(found: Sequence[Sample], answers: Sequence[Sequence[Tensor]]) -> str:
    """samples.json with these answers as the expected ones; empty where they cannot be written so."""
    try:
        pairs = zip(found, answers, strict=True)
        return samples.written(replace(sample, expected=tuple(answer)) for sample, answer in pairs)
    except (MeshError, UnicodeDecodeError):
        return ""


def _tell(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """What a template raised, for its author. Whatever else is logged stands in the report."""
    error = event.get("exc_info")
    if not isinstance(error, BaseException):
        raise structlog.DropEvent
    return "".join(traceback.format_exception(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
