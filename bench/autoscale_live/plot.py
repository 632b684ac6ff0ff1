"""`python -m bench.autoscale_live.plot REPORT.json FILE.png`: workers and waiting jobs, predicted and measured.

Reads the report written by `python -m bench autoscale_live --json REPORT.json`. Needs matplotlib (the `bench` extra).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

LOADS = ("code", "conv")
ROWS = ("workers", "waiting")
STYLES = {"predicted": {"color": "0.55", "linewidth": 2.5}, "measured": {"color": "tab:blue", "linewidth": 1.2}}


def main(report: Path, picture: Path) -> None:
    """Draw."""
    series = json.loads(report.read_text(encoding="utf-8"))["series"]
    canvas, axes = plt.subplots(len(ROWS), len(LOADS), figsize=(6 * len(LOADS), 5.6), sharex="col")
    end = max(points[-1][0] for points in series.values())
    for row, what in enumerate(ROWS):
        for column, load in enumerate(LOADS):
            _draw(axes[row][column], load, what, series, end)
    axes[0][0].legend()
    canvas.suptitle("The same slice of a trace, simulated and lived through")
    canvas.tight_layout()
    canvas.savefig(picture, dpi=110)


def _draw(axis: Any, load: str, what: str, series: dict[str, Any], end: float) -> None:
    for name, style in STYLES.items():
        points = series[f"{load}: {what}, {name}"]
        at, values = zip(*points, (end, points[-1][1]), strict=True)
        axis.step(at, values, where="post", label=name, **style)
    axis.set_ylabel(f"{what}{'' if what == 'workers' else ' jobs'}")
    if what == ROWS[0]:
        axis.set_title(load)
    else:
        axis.set_xlabel("seconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
