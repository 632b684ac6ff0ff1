"""`python -m bench.autoscale.plot REPORT.json FILE.png`: waits against worker-hours, every policy beside the frontier.

Reads the report written by `python -m bench autoscale --json REPORT.json`. Needs matplotlib (the `bench` extra).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

LOADS = ("code", "conv", "step", "spikes", "diurnal", "long jobs 4", "few long jobs 5", "levels 6")
POLICIES = {
    "AgentPool": "o",
    "KEDA lag": "s",
    "KEDA lag+pending": "D",
    "KEDA tuned": "d",
    "Knative KPA": "^",
    "oracle": "*",
}


def main(report: Path, picture: Path) -> None:
    """Draw."""
    figures = json.loads(report.read_text(encoding="utf-8"))["figures"]
    canvas, axes = plt.subplots(2, len(LOADS) // 2, figsize=(2 * len(LOADS), 8.4))
    for load, axis in zip(LOADS, axes.flat, strict=True):
        _draw(axis, load, figures)
    axes[0, 0].set_ylabel("p99 wait, s")
    axes[1, 0].set_ylabel("p99 wait, s")
    axes[0, 0].legend(fontsize=8)
    canvas.suptitle("30 s start-up, 5 slots a worker: further down and further left is better")
    canvas.tight_layout()
    canvas.savefig(picture, dpi=110)


def _draw(axis: Any, load: str, figures: dict[str, Any]) -> None:
    counts = [n for n in range(1, 21) if f"{load}, fixed {n}: p99 wait" in figures]
    hours = [figures[f"{load}, fixed {n}: worker-hours"]["median"] for n in counts]
    waits = [max(0.1, figures[f"{load}, fixed {n}: p99 wait"]["median"]) for n in counts]
    axis.plot(hours, waits, color="0.6", marker=".", label="fixed counts")
    for policy, mark in POLICIES.items():
        cost, wait = (figures[f"{load}, {policy}, 30 s: {what}"] for what in ("worker-hours", "p99 wait"))
        axis.plot(cost["median"], max(0.1, wait["median"]), mark, markersize=9, label=policy)
        axis.plot([cost["median"]] * 2, [max(0.1, wait["min"]), max(0.1, wait["max"])], color="0.3", linewidth=1)
    axis.set(title=load, xlabel="worker-hours", yscale="log")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
