"""Does batching pay where it should: near and over capacity, in answers that are still in time?

The time-series model is called in an open loop at 80, 100 and 120 % of what the host can do without batching; every
call has a deadline, and its caller has gone when that is over. Goodput is what was answered in time. Beside the host
as shipped run two that it has to beat: without batching, and with a fixed delay that fills batches by waiting.

Wasted work is what was computed for callers that had gone, as the host counts it itself: nobody else can know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_host.settings import HostSettings
from mesh.fields import declared
from tests.bench.load import Shape
from tests.bench.models import TS
from tests.bench.passes import TROUBLE, Record, observe
from tests.bench.requests import Face
from tests.bench.rows import Row
from tests.bench.servers import Room, Running
from tests.bench.waypost import Waypost, heard, wait_for

KIND = "batching"
LOADS = (0.8, 1.0, 1.2)  # of capacity
DEADLINE_MS = 50  # of each call: some ten runs of the model, on a machine that others use too
CAPACITY = Shape(in_flight=32, seconds=1.0)
WASTED = "wasted_runs"
"""Field of HostMetrics."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to batch, by settings of the host."""

    name: str
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def offered(self) -> bool:
        """Whether this host has these settings."""
        return self.settings.keys() <= declared(HostSettings).keys()

    @property
    def host(self) -> Waypost:
        return Waypost(f"waypost-{self.name.replace(' ', '-')}", self.settings)


SHIPPED = Variant("as shipped")
NONE = Variant("no batching", {"batch_rows_max": 1})
DELAY = Variant("fixed delay", {"batch_delay_ms": 5})
VARIANTS = (NONE, DELAY, SHIPPED)


def batching(round_: int, seconds: float, room: Room, record: Record) -> None:
    if missing := [variant.name for variant in VARIANTS if not variant.offered]:
        record.gap("batching", f"this host has no settings for: {', '.join(missing)}")
        return
    try:
        capacity = _capacity(room)
        for variant in VARIANTS:
            with variant.host.start([TS], room) as running:
                for load in LOADS:
                    record.rows.append(_measure(variant, load, capacity, seconds, round_, running, room))
    except TROUBLE as trouble:
        record.gap("batching", trouble)


def _capacity(room: Room) -> float:
    """Answers a second without batching, as many as it can."""
    with NONE.host.start([TS], room) as running:
        return room.driver.measure(running.targets[TS.name, Face.GRPC], room.samples[TS.name], CAPACITY, []).per_s


def _measure(
    variant: Variant, load: float, capacity: float, seconds: float, round_: int, running: Running, room: Room
) -> Row:
    shape = Shape(rate=load * capacity, seconds=seconds, timeout_ms=DEADLINE_MS)
    target, samples = running.targets[TS.name, Face.GRPC], room.samples[TS.name]
    before = _counts(variant, room)
    observed = observe(running, target, samples, shape, room)
    # Of two more samples the second was begun after the last call, so it and those before hold all of it.
    wait_for(lambda: len(_counts(variant, room)) >= len(before) + 2, "the host to tell its counts")
    values = {**observed.values(), "goodput_per_s": observed.measured.in_time / seconds, "rate": shape.rate}
    news = _counts(variant, room)[len(before) :]
    if all(WASTED in counts for counts in news):
        values["wasted"] = sum(float(counts[WASTED]) for counts in news)
    return Row(KIND, f"{load:.0%}", variant.name, "", round_, 0, values)


def _counts(variant: Variant, room: Room) -> list[dict[str, Any]]:
    """The samples of HostMetrics that the host's monitor has heard."""
    return [event["metrics"] for event in heard(room.scratch / variant.host.name / "monitor.log") if "metrics" in event]
