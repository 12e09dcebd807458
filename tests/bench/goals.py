"""What the host has to reach, each as a ratio of one run; `make bench CHECK=1` fails where one is missed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import batching, cells, servers
from tests.bench.cells import Cell
from tests.bench.figures import Figure, Figures
from tests.bench.passes import OURS
from tests.bench.waypost import Repository

MEGABYTE = 1e6
OIP_PEERS = tuple(peer for peer in servers.PEERS if peer.oip)


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and its bound."""

    what: str
    against: str
    bound: float
    figure: Callable[[Figures], Figure | None]
    at_least: bool = False
    """The bound is a lower one."""
    unit: str = "×"


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    figure: Figure | None
    """None: not measured, which is a miss too."""

    @property
    def met(self) -> bool:
        if self.figure is None:
            return False
        return (
            (self.figure.median >= self.goal.bound) if self.goal.at_least else (self.figure.median <= self.goal.bound)
        )

    @property
    def miss(self) -> str:
        """In words, by how much."""
        goal = self.goal
        subject = f"{goal.what}, against {goal.against}" if goal.against else goal.what
        if self.figure is None:
            return f"{subject}: not measured"
        bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:.3g} {goal.unit}"
        return f"{subject}: {self.figure.median:.3g}, {bound}"


def judge(figures: Figures) -> list[Verdict]:
    return [Verdict(goal, goal.figure(figures)) for goal in GOALS]


def _to_best(metric: str, cell: Cell) -> Callable[[Figures], Figure | None]:
    return lambda figures: figures.closest(figures.ratio(metric, cell, peer) for peer in OIP_PEERS)


def _start_to_best(metric: str) -> Callable[[Figures], Figure | None]:
    return lambda figures: figures.closest(figures.start_ratio(metric, peer) for peer in OIP_PEERS)


def _memory(figures: Figures) -> Figure | None:
    found = figures.value("start", "mlp", OURS.name, "memory_bytes")
    return found and Figure(found.median / MEGABYTE, found.low / MEGABYTE, found.high / MEGABYTE)


BEST_OIP = "the best of KServe, MLServer, PyTriton"

GOALS: Sequence[Goal] = (
    Goal("CPU per call, mlp, gRPC", "C++ gRPC", 1.25, lambda f: f.ratio("cpu_us", cells.MLP_8, servers.CPP)),
    Goal("CPU per call, mlp, gRPC", "grpcio", 1 / 5, lambda f: f.ratio("cpu_us", cells.MLP_8, servers.GRPCIO)),
    Goal("CPU per call, mlp, gRPC", BEST_OIP, 1 / 10, _to_best("cpu_us", cells.MLP_8)),
    Goal("CPU per call, mlp, HTTP", "FastAPI", 1 / 5, lambda f: f.ratio("cpu_us", cells.MLP_JSON_8, servers.FASTAPI)),
    Goal("CPU per call, ts, gRPC", BEST_OIP, 1 / 4, _to_best("cpu_us", cells.TS_8)),
    Goal("CPU per call, img, gRPC", "C++ gRPC", 1.15, lambda f: f.ratio("cpu_us", cells.IMG_8, servers.CPP)),
    Goal(
        "CPU per call, img, HTTP binary", "C++ gRPC", 1.15, lambda f: f.ratio("cpu_us", cells.IMG_BINARY_8, servers.CPP)
    ),
    Goal("p50 of one call in flight, mlp", BEST_OIP, 1 / 2, _to_best("p50_us", cells.MLP_1)),
    Goal("p99 of mlp beside 50 img/s, in one host", "its p99 alone", 2.0, lambda f: f.beside_slow(Repository().name)),
    Goal("p99 of mlp beside 50 img/s, in two hosts", "its p99 alone", 2.0, lambda f: f.beside_slow(OURS.name)),
    Goal("cold start", BEST_OIP, 1 / 4, _start_to_best("cold_start_s")),
    Goal("memory with mlp", "", 110, _memory, unit="MB"),
    Goal(
        "goodput at 80 and 100 % of capacity",
        "the better of no batching and a fixed delay",
        0.99,  # below capacity all three answer everything: no worse is all that can be asked
        lambda f: f.goodput_gain(batching.LOADS[:2]),
        at_least=True,
    ),
    Goal(
        "goodput at 120 % of capacity",
        "the better of no batching and a fixed delay",
        1.0,
        lambda f: f.goodput_gain(batching.LOADS[2:]),
        at_least=True,
    ),
    Goal("work done for callers that had gone", "", 0, lambda f: f.wasted(), unit="runs"),
)
