"""The tables of the report, as plain text in cells; report.py prints them and writes them down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench import batching, cells, goals, mix, second_opinion, servers, variants
from tests.bench.cells import Cell
from tests.bench.figures import Figure, Figures
from tests.bench.goals import Verdict
from tests.bench.passes import OURS
from tests.bench.waypost import Repository

NOTHING = "–"
OTHERS_MAX = 0.05  # of the server's core: what kernel threads and this program itself take on a quiet machine, doubled
DRIVER_BUSY_MAX = 0.9  # of its core
TITLES = {
    OURS.name: "**Waypost**",
    Repository().name: "one host with both models",
    **{peer.name: peer.title for peer in servers.PEERS},
}


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def of_goals(verdicts: Sequence[Verdict]) -> Table:
    rows = [
        [
            verdict.goal.what,
            verdict.goal.against,
            f"{'≥' if verdict.goal.at_least else '≤'} {_number(verdict.goal.bound)} {verdict.goal.unit}",
            spread(verdict.figure),
            "yes" if verdict.met else "**no**",
        ]
        for verdict in verdicts
    ]
    about = "Ratios of ours to theirs, taken side by side: the median of all rounds (lowest to highest)."
    return Table("Goals", about, ("figure", "against", "goal", "measured", "met"), rows)


def of_figures(figures: Figures) -> list[Table]:
    """All tables that have something to show."""
    tables = [
        _by_server(
            figures,
            "CPU per call",
            "Server CPU time per answer in µs, all processes of a server together. c8: 8 calls in flight. "
            "The last column is the binary tensor form over HTTP; the C++ server answers it over gRPC.",
            [*cells.GRPC, *cells.HTTP],
            lambda cell, server: plain(figures.load(cell, server, "cpu_us")),
        ),
        _by_server(
            figures,
            "Throughput",
            "Answers a second from one core.",
            [cell for cell in cells.ALL if cell.in_flight],
            lambda cell, server: plain(figures.load(cell, server, "per_s")),
        ),
        _by_server(
            figures,
            "Latency",
            "p50 / p99 in ms, the client's wake-up included. The open loop counts from the moment a call was due.",
            [cell for cell in cells.ALL if cell.model.name == "mlp"],
            lambda cell, server: _latency(figures, cell, server),
        ),
        _by_peer(figures),
        _starts(figures),
        _mix(figures),
        _batching(figures),
        _variants(figures),
        _opinion(figures),
        _limits(figures),
    ]
    return [table for table in tables if table.rows]


def doubts(figures: Figures) -> list[str]:
    """Why the figures of this run should not be trusted; empty where nothing speaks against them."""
    doubts = []
    others, busy = _all_loads(figures, "others"), _all_loads(figures, "driver_busy")
    if others and others.median > OTHERS_MAX:
        doubts.append(f"other processes had {others.median:.0%} of the server's core: repeat it on a quiet machine")
    if busy and busy.high > DRIVER_BUSY_MAX:
        doubts.append(f"the driver's core was up to {busy.high:.0%} busy: where that was, throughput is the driver's")
    return doubts


def plain(figure: Figure | None) -> str:
    return _number(figure.median) if figure else NOTHING


def spread(figure: Figure | None) -> str:
    """The median, and the lowest and highest where they differ."""
    if figure is None:
        return NOTHING
    median, low, high = map(_number, (figure.median, figure.low, figure.high))
    return median if low == high else f"{median} ({low} to {high})"


def _by_server(
    figures: Figures, title: str, about: str, columns: Sequence[Cell], text: Callable[[Cell, str], str]
) -> Table:
    names = [OURS.name, *(peer.name for peer in servers.PEERS)]
    texts = {name: [text(cell, name) for cell in columns] for name in names}
    used = [i for i in range(len(columns)) if any(each[i] != NOTHING for each in texts.values())]
    rows = [
        [TITLES[name], *(each[i] for i in used)]
        for name, each in texts.items()
        if any(each[i] != NOTHING for i in used)
    ]
    return Table(title, about, ("server", *(str(columns[i]) for i in used)), rows)


def _by_peer(figures: Figures) -> Table:
    columns = (cells.MLP_1, cells.MLP_8, cells.MLP_32, cells.TS_8, cells.IMG_8, cells.MLP_JSON_8, cells.IMG_BINARY_8)
    rows = []
    for peer in servers.PEERS:
        ratios = [figures.ratio("cpu_us", cell, peer) for cell in columns]
        if any(ratios):
            inverse = [ratio and Figure(1 / ratio.median, 1 / ratio.high, 1 / ratio.low) for ratio in ratios]
            rows.append([peer.title, *map(spread, inverse)])
    about = "Their CPU per call as a multiple of ours, measured in turns: median (lowest to highest round)."
    return Table("Their cost in ours", about, ("server", *map(str, columns)), rows)


def _starts(figures: Figures) -> Table:
    rows = []
    titles = {**TITLES, Repository().name: "Waypost, started by hand"}
    for name in (OURS.name, Repository().name, *(peer.name for peer in servers.PEERS)):
        cold, memory = (figures.value("start", "mlp", name, metric) for metric in ("cold_start_s", "memory_bytes"))
        if cold and memory:
            rows.append([titles[name], spread(cold), f"{memory.median / goals.MEGABYTE:.0f}"])
    about = (
        "With the tiny model alone: from the order to start it to the first right answer; resident memory after some "
        "load, what the processes of a server share counted once. At a position a host is forked from a process of the "
        "agent's that has imported everything already, which is counted in the memory with what it has imported for "
        "hosts; a second host would share it. A host that a person starts has its imports before it."
    )
    return Table("Cold start and memory", about, ("server", "cold start, s", "memory, MB"), rows)


def _mix(figures: Figures) -> Table:
    rows = []
    for server in mix.SERVERS:
        alone, beside = (figures.value(mix.KIND, what, server.name, "p99_us") for what in (mix.ALONE, mix.BESIDE))
        if alone and beside:
            texts = [spread(Figure(each.median / 1e3, each.low / 1e3, each.high / 1e3)) for each in (alone, beside)]
            title = "two hosts, as deployed" if server is OURS else TITLES[server.name]
            rows.append([title, *texts, spread(figures.beside_slow(server.name))])
    about = (
        f"p99 of mlp in ms at {mix.TINY_RATE:.0f} calls a second, alone and with {mix.SLOW_RATE:.0f} calls a second of "
        "img beside it on the same core."
    )
    return Table("A slow model beside a tiny one", about, ("host", "alone", "beside img", "ratio"), rows)


def _batching(figures: Figures) -> Table:
    rows = []
    for variant in batching.VARIANTS:
        loads = [f"{load:.0%}" for load in batching.LOADS]
        goodput = [figures.value(batching.KIND, load, variant.name, "goodput_per_s") for load in loads]
        if any(goodput):
            wasted = [figures.value(batching.KIND, load, variant.name, "wasted") for load in loads]
            rows.append(
                [variant.name, *map(spread, goodput), plain(max(filter(None, wasted), key=_median, default=None))]
            )
    about = (
        f"Answers of ts within {batching.DEADLINE_MS} ms, a second, in an open loop at a share of what the host can do "
        "without batching; and runs of the model for callers that had gone."
    )
    return Table("Batching", about, ("host", *(f"{load:.0%}" for load in batching.LOADS), "wasted runs"), rows)


def _variants(figures: Figures) -> Table:
    rows = []
    for variant in variants.VARIANTS:
        ratios = [figures.variant_ratio(cell, variant) for cell in variants.CELLS]
        if any(ratios):
            costs = [figures.value(variants.KIND, str(cell), variant.other.name, "cpu_us") for cell in variants.CELLS]
            texts = [
                f"{plain(cost)} ({plain(ratio)} ×)" if cost else NOTHING
                for cost, ratio in zip(costs, ratios, strict=True)
            ]
            rows.append([TITLES[variant.usual.name], variant.way, *texts])
    about = (
        "Server CPU time per answer in µs, and as a multiple of the same call to the same server as it is elsewhere on "
        "this page: in the clear; ours with its hot path compiled, as `make wheels` builds it."
    )
    return Table("In another way", about, ("server", "what", *map(str, variants.CELLS)), rows)


def _opinion(figures: Figures) -> Table:
    ratio, peer = figures.opinion_ratio(servers.PYTRITON), servers.PYTRITON
    rows = []
    if ratio is not None:
        ours, theirs = (
            plain(figures.value(second_opinion.KIND, "mlp", name, "per_s")) for name in (OURS.name, peer.name)
        )
        rows.append([ours, theirs, spread(ratio)])
    about = f"Answers a second by perf_analyzer, {second_opinion.IN_FLIGHT} calls of mlp in flight over gRPC."
    return Table("A driver that is not ours", about, ("Waypost", peer.title, "ratio"), rows)


def _limits(figures: Figures) -> Table:
    rows = []
    for model in ("mlp", "ts", "img"):
        run, per_s = (figures.value("alone", model, "onnxruntime", metric) for metric in ("cpu_us", "per_s"))
        if run and per_s:
            rows.append([f"onnxruntime alone, {model}", f"{spread(run)} µs a run, {plain(per_s)} runs a second"])
    busiest, others = _all_loads(figures, "driver_busy"), _all_loads(figures, "others")
    if busiest and others:
        cost = _all_loads(figures, "driver_cpu_us")
        assert cost is not None
        rows.append(["the driver", f"from {_number(cost.low)} µs a call on; its core at most {busiest.high:.0%} busy"])
        taken = f"{others.median:.0%} ({others.low:.0%} to {others.high:.0%}) of the server's core"
        rows.append(["processes of others", taken])
    return Table(
        "Limits",
        "What no server can pass, and whether the driver or others were in the way.",
        ("what", "measured"),
        rows,
    )


def _all_loads(figures: Figures, metric: str) -> Figure | None:
    """Over all servers and cells."""
    names = [OURS.name, *(peer.name for peer in servers.PEERS)]
    found = [each for cell in cells.ALL for name in names if (each := figures.load(cell, name, metric))]
    if not found:
        return None
    return Figure(median(map(_median, found)), min(each.low for each in found), max(each.high for each in found))


def _latency(figures: Figures, cell: Cell, server: str) -> str:
    p50, p99 = (figures.load(cell, server, metric) for metric in ("p50_us", "p99_us"))
    return f"{_number(p50.median / 1e3)} / {_number(p99.median / 1e3)}" if p50 and p99 else NOTHING


def _median(figure: Figure) -> float:
    return figure.median


def _number(value: float) -> str:
    """Three digits are more than two runs agree on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
