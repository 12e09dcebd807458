"""Our host, as the edge agent starts it: forked from the nursery, settings in a file, a package with a manifest, a
position with keys of its own, a monitor that it is linked to. Callers carry the position's token, which it checks, and
each call a deadline.

A position's host serves one model, so several models are several hosts; they share the server's core, and their CPU
time is added up.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from edge_agent.drivers.process import HOST
from inference_host.model import manifest
from mesh import clock, identity, tokens
from mesh.nursery import PYTHON
from mesh.settings import dump_toml
from tests.bench.build import ROOT
from tests.bench.load import Target
from tests.bench.models import Model
from tests.bench.processes import processes
from tests.bench.requests import Face
from tests.bench.servers import CannotServe, Room, Running, wait_until_right
from tests.ports import free_port
from tools import wheels
from waypost.api.control.v1 import model_pb2
from waypost.api.link.v1.host_link_pb2 import HostOrders

TIMEOUT_MS = "5000"  # of HTTP, as load.Shape.timeout_ms is of gRPC
TOKEN_S = 3600.0  # longer than a pass
LINKED_S = 20.0
COMPILED = ROOT / "build/compiled"
"""Shared with `make test-compiled`."""
FACES = (Face.GRPC, Face.JSON, Face.BINARY)


@dataclass(frozen=True, slots=True)
class Position:
    """One model's place, and what belongs to it."""

    model: str
    directory: Path
    key: bytes = field(default_factory=tokens.new_signing_key)

    @property
    def uid(self) -> str:
        return f"uid-{self.model}"

    @property
    def replica(self) -> str:
        return f"r-{self.model}"

    @property
    def name(self) -> str:
        return f"projects/bench/applications/bench/positions/{self.model}"

    def headers(self) -> dict[str, str]:
        """What a registered xApp sends with each call."""
        token = tokens.mint(
            self.key, audience=self.uid, subject="agent", client="bench", now=clock.now(), lifetime_s=TOKEN_S
        )
        return {"authorization": f"Bearer {token}"}

    def package(self, models_dir: Path) -> Path:
        """As the agent assembles it from artifacts."""
        package = self.directory / "package"
        package.mkdir(parents=True, exist_ok=True)
        shutil.copy(models_dir / self.model / "model.onnx", package)
        content = (package / "model.onnx").read_bytes()
        version = model_pb2.ModelVersion(
            name=f"projects/bench/applications/bench/models/{self.model}/versions/1", framework="onnx"
        )
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        version.artifacts.add(path="model.onnx", digest=digest, size_bytes=len(content))
        (package / manifest.MANIFEST).write_text(json_format.MessageToJson(version))
        return package


@dataclass(frozen=True)
class Waypost:
    """The host with `settings` of its own beside those that the agent writes."""

    name: str = "waypost"
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    faces: Sequence[Face] = FACES
    tls: bool = False
    compiled: bool = True
    """As from a wheel of `make wheels`; else as it lies here."""

    def install(self, cache: Path) -> None:
        """Raises: wheels.CannotBuild."""
        _code(compiled=self.compiled)

    @contextlib.contextmanager
    def start(self, models: Sequence[Model], room: Room) -> Iterator[Running]:
        directory = room.scratch / self.name
        shutil.rmtree(directory, ignore_errors=True)
        positions = [Position(model.name, directory / model.name) for model in models]
        packages = {position.model: position.package(room.models_dir) for position in positions}
        socket = f"unix:{directory}/m.sock"
        with _monitor(directory, socket, positions) as log, processes(self.name, directory, room.cores.server) as host:
            targets: dict[tuple[str, Face], Target] = {}
            prepared = [self._prepare(position, packages[position.model], socket, room) for position in positions]
            host.open_nursery(_code(compiled=self.compiled))
            began = time.monotonic()
            for position, (argv, found) in zip(positions, prepared, strict=True):
                host.fork(position.model, argv)
                targets |= found
            wait_until_right(host, [targets[model.name, Face.GRPC] for model in models], room)
            cold_start_s = time.monotonic() - began
            _wait_until_linked(log, positions)
            yield Running(host, targets, cold_start_s)

    def _prepare(
        self, position: Position, package: Path, monitor: str, room: Room
    ) -> tuple[list[str], dict[tuple[str, Face], Target]]:
        """The command of one host, and how it is called."""
        address = f"127.0.0.1:{free_port()}"
        jwks = position.directory / "jwks.json"
        jwks.write_text(tokens.jwks(position.key))
        settings = {
            "model": str(package),
            "replica": position.replica,
            "position": position.name,
            "position_uid": position.uid,
            "serve_as": "",
            "model_version": manifest.read(package).full_name,
            "digest": manifest.read(package).digest,
            "monitor": monitor,
            "listen": address,
            "jwks": str(jwks),
            **({"tls": str(room.certificate())} if self.tls else {}),
            **self.settings,
        }
        path = position.directory / "settings.toml"
        path.write_text(dump_toml(settings))
        ca_file = str(room.certificate() / identity.ROOTS) if self.tls else ""
        return [*PYTHON, *HOST, "--settings", str(path)], {
            (position.model, face): _target(position, face, address, ca_file) for face in self.faces
        }


def _target(position: Position, face: Face, address: str, ca_file: str) -> Target:
    headers = position.headers()
    if face.over_http:
        headers["waypost-timeout-ms"] = TIMEOUT_MS
    return Target(face, address, position.model, f"/v2/models/{position.model}/infer", headers, ca_file)


def _code(*, compiled: bool) -> dict[str, str]:
    """What makes a host run it, in its environment. Raises: wheels.CannotBuild."""
    return {"PYTHONPATH": str(_unpacked())} if compiled else {}


@cache
def _unpacked() -> Path:
    return wheels.unpacked(COMPILED)


@contextlib.contextmanager
def _monitor(directory: Path, socket: str, positions: Sequence[Position]) -> Iterator[Path]:
    """Runs the hosts' monitor; yields the file with what it hears."""
    directory.mkdir(parents=True, exist_ok=True)
    orders = {
        position.replica: HostOrders(position_uid=position.uid, generation=1, jwks=tokens.jwks(position.key))
        for position in positions
    }
    replicas = {replica: json_format.MessageToDict(each) for replica, each in orders.items()}
    config, log = directory / "monitor.json", directory / "monitor.log"
    config.write_text(json.dumps({"socket": socket, "replicas": replicas}))
    with log.open("w") as heard:
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.monitor", str(config)], stdout=heard, cwd=ROOT)
    try:
        wait_for(Path(socket.removeprefix("unix:")).exists, "the monitor to listen")
        yield log
    finally:
        process.terminate()
        process.wait()


def heard(log: Path) -> list[dict[str, Any]]:
    """What a monitor has heard so far."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def _wait_until_linked(log: Path, positions: Sequence[Position]) -> None:
    def linked() -> bool:
        ready = {event["replica"] for event in heard(log) if event.get("state") == "HOST_STATE_READY"}
        return ready == {position.replica for position in positions}

    wait_for(linked, "the hosts to be linked to their monitor")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Raises: CannotServe when that takes too long."""
    ends = time.monotonic() + LINKED_S
    while not condition():
        if time.monotonic() > ends:
            raise CannotServe(f"waited {LINKED_S:.0f} s for {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Repository:
    """One host that a person started with several models: without a position, a monitor or credentials."""

    name: str = "waypost-by-hand"
    faces: Sequence[Face] = FACES

    def install(self, cache: Path) -> None:
        """Raises: wheels.CannotBuild."""
        _code(compiled=True)

    @contextlib.contextmanager
    def start(self, models: Sequence[Model], room: Room) -> Iterator[Running]:
        address = f"127.0.0.1:{free_port()}"
        argv = [sys.executable, "-m", "inference_host", "run", str(room.models_dir), "--listen", address]
        targets = {
            (model.name, face): Target(face, address, model.name, f"/v2/models/{model.name}/infer")
            for model in models
            for face in self.faces
        }
        with processes(self.name, room.scratch / self.name, room.cores.server) as host:
            began = time.monotonic()
            host.start("host", argv, _code(compiled=True))
            wait_until_right(host, [targets[model.name, Face.GRPC] for model in models], room)
            yield Running(host, targets, time.monotonic() - began)
