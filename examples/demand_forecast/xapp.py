"""An xApp in closed loops: read the last week of water flow, ask for the next six hours, set the pumps.

    export WAYPOST_TOKEN=wp1_...        # waypost application token create
    python examples/demand_forecast/xapp.py --position PROJECT/water/tank-1

It replays the measured weeks that the model has not seen, once over gRPC with the SDK and once over plain HTTP with
nothing but the standard library, and compares the answers with what was measured then and with the persistence
forecast (it stays as it is). Exit code 0: the model beats persistence both ways.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from series import STEPS_H, WINDOW_H, Windows, load, mae, persistence, split, windows

import waypost


@dataclass
class Replay:
    """What one way of calling gave."""

    forecasts: list[np.ndarray] = field(default_factory=list)
    loops_s: list[float] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    def add(self, forecast: np.ndarray, loop_s: float, model: str) -> None:
        self.forecasts.append(forecast)
        self.loops_s.append(loop_s)
        self.models.add(model)


def set_pumps(forecast: np.ndarray) -> float:
    """The action: pump for the largest flow to come, with five percent in hand."""
    return float(forecast.max()) * 1.05


def paced(history: np.ndarray, pace_s: float) -> Iterator[np.ndarray]:
    """What the sensors read, one window every `pace_s` seconds; replayed at once where that is 0."""
    began_s = time.monotonic()
    for n, window in enumerate(history):
        time.sleep(max(0.0, began_s + n * pace_s - time.monotonic()))
        yield window


def over_grpc(gateway: str, position: str, token: str, data: Windows, deadline_s: float, pace_s: float) -> Replay:
    replay = Replay()
    with waypost.connect(gateway, position=position, token=token, client="demand-forecast") as tank:
        for history in paced(data.history, pace_s):
            with tank.loop(deadline_s) as loop:
                answer = tank.infer(history[np.newaxis])
                set_pumps(answer["forecast"])
            replay.add(answer["forecast"][0], loop.elapsed_s, answer.model_version)
    return replay


def over_http(gateway: str, position: str, token: str, data: Windows, deadline_s: float, pace_s: float) -> Replay:
    replay = Replay()
    request = {"application_token": token, "client": "demand-forecast-http"}
    access, _ = post(f"{gateway}/v1/register", request, {"waypost-position": position}, timeout_s=5.0)
    infer = f"{gateway}/positions/{access['position_uid']}/v2/models/{access['model']}/infer"
    bearer = {"authorization": f"Bearer {access['access_token']}"}
    for history in paced(data.history, pace_s):
        started = time.monotonic()
        tensor = {"name": "history", "datatype": "FP32", "shape": [1, WINDOW_H], "data": history.tolist()}
        answer, headers = post(infer, {"inputs": [tensor]}, bearer, timeout_s=deadline_s)
        forecast = np.array(answer["outputs"][0]["data"], np.float32).reshape(STEPS_H)
        set_pumps(forecast)
        replay.add(forecast, time.monotonic() - started, headers["waypost-model-version"])
    return replay


def post(url: str, body: dict, headers: dict[str, str], *, timeout_s: float) -> tuple[dict, dict[str, str]]:
    """Body and headers of the answer. Ends the program where it is an error."""
    headers = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return json.load(response), {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        raise SystemExit(f"error: {url} answered {error.code}: {error.read().decode(errors='replace')}") from error


def judge(replay: Replay, data: Windows) -> dict:
    """Figures for people and programs."""
    error = mae(np.array(replay.forecasts), data.future)
    baseline = mae(persistence(data.history), data.future)
    p50, p95, p99 = np.percentile(replay.loops_s, [50, 95, 99]) * 1e3
    return {
        "loops": len(replay.forecasts),
        "models": sorted(replay.models),
        "mae": round(error, 4),
        "persistence_mae": round(baseline, 4),
        "skill": round(1 - error / baseline, 4),
        "loop_ms": {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="http://127.0.0.1:7680", help="[default: %(default)s]")
    parser.add_argument("--position", required=True, help="PROJECT/APPLICATION/POSITION, or its uid")
    parser.add_argument("--loops", type=int, help="only so many of the hours held out")
    parser.add_argument("--deadline", type=float, default=1.0, metavar="S", help="of each loop [default: %(default)s]")
    parser.add_argument("--pace", type=float, default=0.0, metavar="S", help="begin a loop so often [default: at once]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    token = os.environ.get("WAYPOST_TOKEN") or parser.error("WAYPOST_TOKEN is not set")

    series = load()
    data = split(windows(series), len(series))[1].take(slice(arguments.loops))
    call = (arguments.gateway, arguments.position, token, data, arguments.deadline, arguments.pace)
    try:
        figures = {"grpc": judge(over_grpc(*call), data), "http": judge(over_http(*call), data)}
    except waypost.MeshError as error:
        raise SystemExit(f"error: {error.message}\n\nhint: {error.hint}") from error
    print(json.dumps(figures) if arguments.json else as_text(figures))
    return 0 if all(way["skill"] > 0 for way in figures.values()) else 1


def as_text(figures: dict) -> str:
    return "\n".join(
        f"{way}: {of['loops']} closed loops, {of['loop_ms']['p50']} ms each (99 %: {of['loop_ms']['p99']} ms); "
        f"off by {of['mae']:.2f} l/s, persistence by {of['persistence_mae']:.2f}: {of['skill']:.0%} better"
        for way, of in figures.items()
    )


if __name__ == "__main__":
    sys.exit(main())
