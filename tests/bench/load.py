"""The driver, called from Python: one measurement each.

`driver/load.h` says what a closed and an open loop are and what is counted. The driver checks every answer, status and
numbers; what it returns with a wrong answer in it must not be used.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.models import Sample
from tests.bench.requests import Face, grpc_message, http_request

CONNECTIONS_MAX = 4  # of gRPC in a closed loop: a few channels to a host, as a gateway has
OPEN_LOOP_CONNECTIONS = 64  # of HTTP: each carries one call at a time, and calls do not wait for one another
MARGIN_S = 30.0  # the driver itself gives up 10 s after its window


@dataclass(frozen=True, slots=True)
class Target:
    """One model of a running server, through one face."""

    face: Face
    address: str
    """127.0.0.1:port."""
    model: str
    path: str = ""
    """Of HTTP."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every call: metadata of gRPC, headers of HTTP."""
    ca_file: str = ""
    """Who signed the server's certificate; empty: plaintext."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is asked for how long."""

    in_flight: int = 1
    """Closed loop: callers."""
    rate: float = 0.0
    """Open loop: calls a second; 0: closed."""
    seconds: float = 1.0
    warm_up_s: float = 0.2
    timeout_ms: int = 5000
    """Deadline of each call."""
    calls_max: int = 0
    """Closed loop: calls in all. 0: no bound but the time."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the driver counted (driver/load.h, Result)."""

    due: int
    right: int
    wrong: int
    in_time: int
    failures: Mapping[str, int]
    first_failure: str
    window_s: float
    answers: int
    server_cpu_s: float
    driver_cpu_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float

    @property
    def clean(self) -> bool:
        """Whether every call was answered, and rightly."""
        return self.right > 0 and not self.wrong and not self.failures

    @property
    def cpu_us(self) -> float:
        """Server CPU per answer."""
        return self.server_cpu_s / max(1, self.answers) * 1e6

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.window_s if self.window_s else 0.0

    @property
    def driver_busy(self) -> float:
        """Share of the driver's core."""
        return self.driver_cpu_s / self.window_s if self.window_s else 0.0


class DriverFailed(Exception):
    """The driver could not measure: no connection, or nothing but errors."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The built driver, and where it may write its requests."""

    binary: Path
    directory: Path
    core: int | None

    def measure(self, target: Target, samples: Sequence[Sample], shape: Shape, cpu_flags: Sequence[str]) -> Measured:
        """Raises: DriverFailed."""
        with self.start(target, samples, shape, cpu_flags) as running:
            return finish(running, shape)

    def start(
        self, target: Target, samples: Sequence[Sample], shape: Shape, cpu_flags: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """Begins a measurement that `finish` ends; two may run beside each other."""
        argv = [str(self.binary), *_target_flags(target), *_shape_flags(target.face, shape), *cpu_flags]
        argv += self._calls(target, samples)
        if self.core is not None:
            argv = ["taskset", "--cpu-list", str(self.core), *argv]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _calls(self, target: Target, samples: Sequence[Sample]) -> list[str]:
        flags = []
        for number, sample in enumerate(samples):
            stem = self.directory / f"{target.model}-{target.face.name}-{number}"
            id_ = f"call-{number}"
            if target.face is Face.GRPC:
                request = grpc_message(target.model, id_, sample.x)
            else:
                request = http_request(target.face, target.path, target.headers, id_, sample.x)
            stem.with_suffix(".request").write_bytes(request)
            stem.with_suffix(".expected").write_bytes(sample.y.tobytes())
            flags += ["--call", f"{stem}.request", f"{stem}.expected"]
        return flags


def finish(running: "subprocess.Popen[str]", shape: Shape) -> Measured:
    """Waits for the end of what `Driver.start` began. Raises: DriverFailed."""
    try:
        out, errors = running.communicate(timeout=shape.warm_up_s + shape.seconds + MARGIN_S)
    except subprocess.TimeoutExpired as error:
        running.kill()
        raise DriverFailed("the driver did not come to an end") from error
    if not out:
        raise DriverFailed(errors.strip() or f"the driver ended with exit code {running.returncode}")
    return Measured(**json.loads(out))


def _target_flags(target: Target) -> list[str]:
    flags = ["http" if target.face.over_http else "grpc", "--address", target.address, "--form", target.face.reply_form]
    if target.ca_file:
        flags += ["--ca", target.ca_file]
    if not target.face.over_http:
        for name, value in target.headers.items():
            flags += ["--metadata", name, value]
    return flags


def _shape_flags(face: Face, shape: Shape) -> list[str]:
    flags = ["--warm-up", str(shape.warm_up_s), "--seconds", str(shape.seconds), "--timeout-ms", str(shape.timeout_ms)]
    if shape.rate:
        connections = OPEN_LOOP_CONNECTIONS if face.over_http else CONNECTIONS_MAX
        flags += ["--rate", str(shape.rate)]
    else:
        connections = shape.in_flight if face.over_http else min(shape.in_flight, CONNECTIONS_MAX)
        flags += ["--in-flight", str(shape.in_flight)]
    return [*flags, "--connections", str(connections), "--calls", str(shape.calls_max)]
