"""Measured data: hourly water flow through a branch of a real network, two months of 2022.

Donated by Tecnojest s.r.l. (Italy) and shipped as `water-flow.csv` with the package `river` (BSD licence), which is
installed for this one file: `pip install --no-deps river==0.26.1`.

Nine gaps (111 of 1379 hours) and three outages are in it. Gaps of up to three hours in a model's input are bridged with
the last value measured, as an xApp has to do it; longer ones break the series. Hours that were not measured are never
something to predict, nor the base of a comparison.
"""

import csv
import datetime
import importlib.metadata
from dataclasses import dataclass

import numpy as np

WINDOW_H = 168  # what the model sees: one week
STEPS_H = 6  # what it predicts
BRIDGED_H_MAX = 3
TRAIN_SHARE = 0.75  # of the time; the rest is held out


@dataclass(frozen=True, slots=True)
class Windows:
    """What was known at some hours, and what came then. Litres per second."""

    hour: np.ndarray  # [N], hours since the series began: the first one to predict
    history: np.ndarray  # [N, WINDOW_H], float32
    future: np.ndarray  # [N, STEPS_H], float32

    def __len__(self) -> int:
        return len(self.hour)

    def take(self, which: np.ndarray | slice) -> "Windows":
        return Windows(self.hour[which], self.history[which], self.future[which])


def load() -> np.ndarray:
    """The whole series, one value an hour, NaN where nothing was measured."""
    path = importlib.metadata.distribution("river").locate_file("river/datasets/water-flow.csv")
    with open(str(path), newline="") as file:
        rows = list(csv.reader(file))[1:]
    hours = [int(datetime.datetime.fromisoformat(time).timestamp()) // 3600 for time, _ in rows]
    series = np.full(hours[-1] - hours[0] + 1, np.nan, np.float32)
    for hour, (_, flow) in zip(hours, rows, strict=True):
        series[hour - hours[0]] = float(flow)
    return series


def windows(series: np.ndarray) -> Windows:
    """Every hour before which a week is known and after which six hours were measured."""
    known = bridged(series)
    hours = range(WINDOW_H, len(series) - STEPS_H + 1)
    whole = [
        hour
        for hour in hours
        if not np.isnan(known[hour - WINDOW_H : hour]).any() and not np.isnan(series[hour - 1 : hour + STEPS_H]).any()
    ]
    history = np.array([known[hour - WINDOW_H : hour] for hour in whole])
    future = np.array([series[hour : hour + STEPS_H] for hour in whole])
    return Windows(np.array(whole), history, future)


def bridged(series: np.ndarray) -> np.ndarray:
    """Short gaps filled with the value before them: nothing that was not known then."""
    filled = series.copy()
    gap = 0
    for hour in range(1, len(series)):
        gap = gap + 1 if np.isnan(series[hour]) else 0
        if 0 < gap <= BRIDGED_H_MAX:
            filled[hour] = filled[hour - 1]
    return filled


def split(all_windows: Windows, hours: int) -> tuple[Windows, Windows]:
    """Chronologically: nothing that training sees, answers included, is as late as what is held out."""
    cut = int(hours * TRAIN_SHARE)
    return all_windows.take(all_windows.hour + STEPS_H <= cut), all_windows.take(all_windows.hour >= cut)


def persistence(history: np.ndarray) -> np.ndarray:
    """The forecast to beat: it stays as it is. [N, STEPS_H]."""
    return np.repeat(history[:, -1:], STEPS_H, axis=1)


def mae(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error, litres per second."""
    return float(np.abs(forecast - truth).mean())
