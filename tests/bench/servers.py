"""The servers of the benchmark, apart from ours (waypost.py): a table, and how one of them is started.

A peer is one line in PEERS and a directory in peers/ with `serve.py` and, where it has an environment of its own,
`requirements.txt`. Its program is called like all others (peers/shared/peer.py), so nothing else has to be told.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mesh import identity
from tests import certificates
from tests.bench import build, environments
from tests.bench.load import Driver, DriverFailed, Shape, Target
from tests.bench.machine import Cores
from tests.bench.models import Model, Sample
from tests.bench.processes import Processes, processes
from tests.bench.requests import Face
from tests.ports import free_port

PEERS_DIR = Path(__file__).parent / "peers"
SDK = PEERS_DIR.parents[2] / "sdk/python/src"
START_S = 120.0  # to the first right answer of every model; BentoML and PyTriton take ten on a busy machine
ASK_EVERY_S = 0.01  # of a server that is starting: the resolution of cold starts
ASKING = Shape(seconds=5.0, warm_up_s=0.0, calls_max=1)


class CannotServe(Exception):
    """A server that was started did not come to answer; says what it said last."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a server finds: the benchmark's files, and who asks it."""

    cache: Path
    """Binaries and environments."""
    scratch: Path
    """For this run."""
    models_dir: Path
    samples: Mapping[str, Sequence[Sample]]
    driver: Driver
    cores: Cores

    def certificate(self) -> Path:
        """A directory as mesh.identity wants it, for localhost."""
        directory = self.scratch / "tls"
        if not directory.exists():
            directory.mkdir()
            certificates.for_localhost(directory)
        return directory


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has answered for every model."""

    processes: Processes
    targets: Mapping[tuple[str, Face], Target]
    """By model and face."""
    cold_start_s: float
    """From the start of its process to the first right answer of every model."""


class Server(Protocol):
    """A server under test."""

    @property
    def name(self) -> str: ...

    @property
    def faces(self) -> Sequence[Face]:
        """What it answers through; the first is the one that it is asked through while it starts."""

    def install(self, cache: Path) -> None:
        """Raises: CannotInstall, CannotBuild."""

    def start(self, models: Sequence[Model], room: Room) -> contextlib.AbstractContextManager[Running]:
        """Raises: CannotServe."""


@dataclass(frozen=True)
class Peer:
    """A server of somebody else's."""

    name: str
    title: str
    faces: tuple[Face, ...]
    packages: tuple[str, ...] = ()
    """What its requirements are about; their versions go into the report."""
    oip: bool = False
    """Whether it is an inference server of the Open Inference Protocol: the ones to be compared with first."""
    python: str = ""
    """Interpreter that its environment is made with; empty: this one's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of each call, beside those that all get."""
    tls: bool = False
    """Whether it is to speak TLS: its program knows the flag."""
    command: Callable[["Peer", Path], list[str]] = field(default=lambda peer, cache: _own_environment(peer, cache))
    """Installs it, and says how its program is started."""

    def install(self, cache: Path) -> None:
        self.command(self, cache)

    @contextlib.contextmanager
    def start(self, models: Sequence[Model], room: Room) -> Iterator[Running]:
        ports = {face: free_port() for face in ("--grpc", "--http")}
        faces = {"--grpc": Face.GRPC in self.faces, "--http": any(face.over_http for face in self.faces)}
        argv = [*self.command(self, room.cache), str(room.models_dir)]
        for flag in (flag for flag, served in faces.items() if served):
            argv += [flag, str(ports[flag])]
        argv += ["--models", *(model.name for model in models)]
        argv += ["--tls", str(room.certificate())] if self.tls else []
        targets = {
            (model.name, face): Target(
                face=face,
                address=f"127.0.0.1:{ports['--http' if face.over_http else '--grpc']}",
                model=model.name,
                path=f"/v2/models/{model.name}/infer",
                headers={**SAME_HEADERS, **self.headers},
                ca_file=str(room.certificate() / identity.ROOTS) if self.tls else "",
            )
            for model in models
            for face in self.faces
        }
        with processes(self.name, room.scratch / self.name, room.cores.server) as started:
            began = time.monotonic()
            started.start(self.name, argv, {"PYTHONPATH": f"{PEERS_DIR / 'shared'}:{SDK}"})
            wait_until_right(started, [targets[model.name, self.faces[0]] for model in models], room)
            yield Running(started, targets, time.monotonic() - began)


SAME_HEADERS = {"authorization": "Bearer " + "x" * 400}
"""Peers check no token, and carry one of the usual size all the same: the bytes of a call are the same for all."""


def wait_until_right(started: Processes, targets: Sequence[Target], room: Room) -> None:
    """Until each target has given a right answer. Raises: CannotServe."""
    ends = time.monotonic() + START_S
    for target in targets:
        while not (said := _answers(target, room)).startswith("right"):
            if died := started.died():
                raise CannotServe(died)
            if time.monotonic() > ends:
                raise CannotServe(f"no right answer from {target.model} within {START_S:.0f} s: {said}")
            time.sleep(ASK_EVERY_S)


def _answers(target: Target, room: Room) -> str:
    try:
        measured = room.driver.measure(target, room.samples[target.model], ASKING, [])
    except DriverFailed as error:
        return str(error)
    return "right" if measured.right else measured.first_failure


def _own_environment(peer: Peer, cache: Path) -> list[str]:
    directory = PEERS_DIR / peer.name
    interpreter = environments.environment(cache, directory / "requirements.txt", peer.python)
    return [str(interpreter), str(directory / "serve.py")]


def _this_environment(peer: Peer, cache: Path) -> list[str]:
    return [sys.executable, str(PEERS_DIR / peer.name / "serve.py")]


def _built(peer: Peer, cache: Path) -> list[str]:
    return [str(build.cpp_server(cache))]


CPP = Peer("cpp", "C++ gRPC + onnxruntime", (Face.GRPC,), command=_built)
GRPCIO = Peer("grpcio", "grpcio, 4 threads", (Face.GRPC,), command=_this_environment)
FASTAPI = Peer("fastapi", "FastAPI + uvicorn", (Face.JSON,), ("fastapi", "uvicorn"))
# MLServer answers requests with binary tensors with an error; KServe takes longer for them than for JSON.
KSERVE = Peer("kserve", "KServe", (Face.GRPC, Face.JSON), ("kserve",), oip=True)
MLSERVER = Peer("mlserver", "MLServer", (Face.GRPC, Face.JSON), ("mlserver",), oip=True)
PYTRITON = Peer(
    "pytriton",
    "PyTriton",
    (Face.GRPC, Face.JSON, Face.BINARY),
    ("nvidia-pytriton",),
    oip=True,
    python="/usr/bin/python3.11",
    headers={"triton-grpc-protocol-triton-access-token": "bench"},  # only second_opinion.py needs it
)
LITSERVE = Peer("litserve", "LitServe", (Face.JSON,), ("litserve",))
BENTOML = Peer("bentoml", "BentoML", (Face.JSON,), ("bentoml",))

PEERS = (CPP, GRPCIO, FASTAPI, KSERVE, MLSERVER, PYTRITON, LITSERVE, BENTOML)
WITH_GOALS = (CPP, GRPCIO, FASTAPI, KSERVE, MLSERVER, PYTRITON)
