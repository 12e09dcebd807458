"""The flags of `waypost host init`, `test` and `bench`."""

from pathlib import Path
from typing import Annotated, Literal

from mesh.settings import Bounds, Positional, Settings


class InitSettings(Settings):
    """Write a small package that runs: a model, the code around it, samples, a test, and what to do next."""

    directory: Annotated[Path, Positional()] = Path()
    """Where to write it; made where it is missing, and refused where it holds something already."""

    from_: str = "python"
    """What to begin with. python: a plain function. sklearn: a scikit-learn model, trained on the spot. FILE.onnx: the
    package around an ONNX model."""


class TestSettings(Settings):
    """Try a package: load it, send it every sample by hand, over gRPC and over HTTP, and compare the answers.

    It runs in a process of its own, without a network, without other files than its own, and with the limits of
    `waypost host check`.
    """

    __test__ = False  # pytest would take it for one

    package: Annotated[Path, Positional()] = Path()
    """A package directory, or an .onnx file."""

    rtol: Annotated[float, Bounds(at_least=0)] = 1e-4
    """Floats may differ from the expected outputs by atol + rtol times what is expected. 1e-4: kernels for other
    processors add in another order."""

    atol: Annotated[float, Bounds(at_least=0)] = 1e-6
    """See rtol; what counts near 0."""

    record: bool = False
    """Write what the model answers now into samples.json, as the outputs that are expected from now on."""

    timeout_s: Annotated[float, Bounds(above=0, at_most=3600)] = 60.0
    """Seconds for all of it; then it is ended, and has failed."""

    output: Literal["table", "json"] = "table"
    """table for people, json for programs."""


class BenchSettings(Settings):
    """Measure a model under load: latency, calls a second, CPU per call, how many rows went together.

    The host runs in a process of its own, with the settings that the environment gives it (WAYPOST_HOST_THREADS ...).
    """

    model: Annotated[Path | None, Positional()] = None
    """What to serve: a package directory or an .onnx file. Its samples.json is what is sent."""

    target: str = ""
    """A host that runs already: host:port or unix:/path. It must ask for no credentials, and speak
    plaintext there: a host with TLS does at a Unix socket. Empty: one is started."""

    name: str = ""
    """The model's name; empty: the only one that the host serves."""

    in_flight: Annotated[int, Bounds(at_least=1, at_most=1024)] = 8
    """Closed loop: callers, each of which calls again when it is answered."""

    rate: Annotated[float, Bounds(at_least=0, at_most=1e6)] = 0.0
    """Open loop: calls a second, at random times, whether earlier ones are answered or not. 0: closed loop."""

    seconds: Annotated[float, Bounds(above=0, at_most=3600)] = 5.0
    """How long to measure, after a warm-up of at most a second."""

    deadline_ms: Annotated[float, Bounds(at_least=0, at_most=3.6e6)] = 0.0
    """Deadline of each call, which the host is told; 0: none."""

    output: Literal["table", "json"] = "table"
    """table for people, json for programs."""
