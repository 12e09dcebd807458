"""The order of things: ours, theirs, ours, cell by cell, so that the machine's drift meets both alike.

A pass is one peer beside our host: both are started, their answers checked from outside, and each cell measured in
three turns. What the peer cannot do is left out; what went wrong is told and leaves a gap, never a doubtful figure.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import grpc

from tests.bench import machine, outside
from tests.bench.build import ROOT
from tests.bench.cells import Cell
from tests.bench.load import DriverFailed, Measured, Shape, Target
from tests.bench.models import ALL, MLP, Sample
from tests.bench.outside import WrongAnswer
from tests.bench.requests import Face
from tests.bench.rows import Row
from tests.bench.servers import CPP, CannotServe, Peer, Room, Running, Server
from tests.bench.waypost import Repository, Waypost

OURS = Waypost()
STAND_IN = {(CPP.name, Face.BINARY): Face.GRPC}
"""The C++ server has no HTTP; our binary HTTP is held against its gRPC."""

TROUBLE = (CannotServe, DriverFailed, WrongAnswer, grpc.RpcError, OSError)
"""What a server, or our use of it, may do wrong without ending the benchmark."""

WARM = Shape(in_flight=8, seconds=0.5)


@dataclass
class Record:
    """Everything that a run found out."""

    rows: list[Row] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    """What was to be measured and could not be, and why."""
    tell: Callable[[str], None] = lambda line: None
    """For whoever waits."""

    def gap(self, what: str, why: object) -> None:
        self.gaps.append(f"{what}: {why}")
        self.tell(f"  ! {what}: {why}")


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is: 0 and 2 are ours, 1 is theirs."""

    number: int
    server: Server
    beside: str
    round: int

    def row(self, kind: str, what: str, values: dict[str, float]) -> Row:
        return Row(kind, what, self.server.name, self.beside, self.round, self.number, values)


def turns(peer: Peer, round_: int) -> list[Turn]:
    order: Sequence[Server] = (OURS, peer, OURS)
    return [Turn(number, server, peer.name, round_) for number, server in enumerate(order)]


def face_of(server: Server, face: Face) -> Face | None:
    """Through which it is measured where `face` is asked for; None: not at all."""
    face = STAND_IN.get((server.name, face), face)
    return face if face in server.faces else None


def starts(peer: Peer, round_: int, room: Room, record: Record) -> None:
    """Cold starts and memory, both with the tiny model alone; ours by hand, too, which nobody has imported before."""
    order = turns(peer, round_)
    for turn in (*order, Turn(len(order), Repository(), peer.name, round_)):
        try:
            with turn.server.start([MLP], room) as running:
                target = running.targets[MLP.name, turn.server.faces[0]]
                room.driver.measure(target, room.samples[MLP.name], WARM, [])
                values = {"cold_start_s": running.cold_start_s, "memory_bytes": running.processes.memory_bytes()}
        except TROUBLE as trouble:
            record.gap(f"start of {turn.server.name}", trouble)
        else:
            record.rows.append(turn.row("start", MLP.name, values))


def loads(peer: Peer, round_: int, cells: Sequence[Cell], seconds: float, room: Room, record: Record) -> None:
    """Every cell that the peer can do."""
    common = [cell for cell in cells if face_of(peer, cell.face)]
    try:
        with OURS.start(ALL, room) as ours, peer.start(ALL, room) as theirs:
            for server, running in ((OURS, ours), (peer, theirs)):
                _check_from_outside(server, running, common, room)
            for cell in common:
                record.tell(f"  {cell}")
                for turn in turns(peer, round_):
                    _load(turn, theirs if turn.number == 1 else ours, cell, seconds, room, record)
    except TROUBLE as trouble:
        record.gap(f"pass of {peer.name}", trouble)


def alone(round_: int, seconds: float, room: Room, record: Record) -> None:
    """The models without a server."""
    names = [model.name for model in ALL]
    argv = [sys.executable, "-m", "tests.bench.alone", str(room.models_dir), str(seconds), *names]
    if room.cores.server is not None:
        argv = ["taskset", "--cpu-list", str(room.cores.server), *argv]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT)
    for found in map(json.loads, done.stdout.splitlines()):
        record.rows.append(Row("alone", found.pop("model"), "onnxruntime", "", round_, 0, found))


@dataclass(frozen=True, slots=True)
class Observed:
    """What the driver measured, and the circumstances."""

    measured: Measured
    others: float
    """Share of the server's core that went to other processes: what makes figures doubtful."""

    def values(self) -> dict[str, float]:
        """All numbers, for a row."""
        measured = self.measured
        return {
            **{name: value for name, value in asdict(measured).items() if isinstance(value, int | float)},
            "cpu_us": measured.cpu_us,
            "per_s": measured.per_s,
            "driver_cpu_us": measured.driver_cpu_s / max(1, measured.answers) * 1e6,
            "driver_busy": measured.driver_busy,
            "others": self.others,
        }

    def clean(self) -> "Observed":
        """Itself. Raises: DriverFailed where a call failed or an answer was wrong."""
        measured = self.measured
        if not measured.clean:
            raise DriverFailed(f"{measured.failures}, {measured.wrong} wrong: {measured.first_failure}")
        return self


def observe(running: Running, target: Target, samples: Sequence[Sample], shape: Shape, room: Room) -> Observed:
    """One measurement, and how much the machine did for others meanwhile. Raises: DriverFailed."""
    core, began = room.cores.server, time.monotonic()
    others_s = running.processes.cpu_s() - machine.used_s(core)
    measured = room.driver.measure(target, samples, shape, running.processes.cpu_flags)
    others_s += machine.used_s(core) - running.processes.cpu_s()
    return Observed(measured, max(0.0, others_s) / (time.monotonic() - began))


def _check_from_outside(server: Server, running: Running, cells: Sequence[Cell], room: Room) -> None:
    for model, target in _targets(server, running, cells):
        outside.check(target, room.samples[model])


def _targets(server: Server, running: Running, cells: Sequence[Cell]) -> Iterator[tuple[str, Target]]:
    for model, face in sorted({(cell.model.name, face_of(server, cell.face)) for cell in cells}):
        assert face is not None
        yield model, running.targets[model, face]


def _load(turn: Turn, running: Running, cell: Cell, seconds: float, room: Room, record: Record) -> None:
    face = face_of(turn.server, cell.face)
    assert face is not None
    target, samples = running.targets[cell.model.name, face], room.samples[cell.model.name]
    try:
        observed = observe(running, target, samples, cell.shape(seconds), room).clean()
    except DriverFailed as trouble:
        record.gap(f"{turn.server.name}, {cell}", trouble)
    else:
        record.rows.append(turn.row("load", str(cell), observed.values()))
