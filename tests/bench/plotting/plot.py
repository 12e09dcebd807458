"""Draws CPU per call of all servers: `plot.py OUT.svg < panels.json`, in an environment with matplotlib.

panels: [{"title", "bars": [{"label", "median", "low", "high"}]}]; the first bar of each is ours.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "bench"  # the same figures give the same file

from matplotlib import pyplot  # noqa: E402

OURS, OTHERS, GRID = "#1f6feb", "#8b949e", "#d0d7de"
BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": 8}
BAR_INCHES, WIDTH_INCHES = 0.32, 9.0


def draw(axes: "pyplot.Axes", title: str, bars: list[dict]) -> None:
    medians = [bar["median"] for bar in bars]
    errors = [[bar["median"] - bar["low"] for bar in bars], [bar["high"] - bar["median"] for bar in bars]]
    colours = [OURS] + [OTHERS] * (len(bars) - 1)
    axes.barh([bar["label"] for bar in bars], medians, xerr=errors, color=colours, ecolor="#57606a", capsize=2)
    axes.set_xlim(0, max(bar["high"] for bar in bars) * 1.1)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for place, bar in enumerate(bars):
        axes.annotate(f"{bar['median']:,.0f}", (bar["high"], place), (5, 0), **BESIDE)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main(out: str) -> None:
    panels = [panel for panel in json.load(sys.stdin) if panel["bars"]]
    heights = [len(panel["bars"]) + 2 for panel in panels]
    figure, all_axes = pyplot.subplots(
        len(panels),
        squeeze=False,
        figsize=(WIDTH_INCHES, BAR_INCHES * sum(heights) + 0.5),
        gridspec_kw={"height_ratios": heights},
    )
    for axes, panel in zip(all_axes[:, 0], panels, strict=True):
        draw(axes, panel["title"], panel["bars"])
    all_axes[-1, 0].set_xlabel("server CPU per call, µs (whiskers: lowest to highest)")
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


main(sys.argv[1])
