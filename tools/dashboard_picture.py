"""A picture of the dashboard's panels for the documents: Prometheus' answers, drawn with matplotlib.

Not a screenshot of Grafana: the same queries over the same time, in the same rows and widths.
`tests/chart/draw_dashboard.py` runs a pool, has Prometheus scrape it, and draws the result.
"""

from __future__ import annotations

import itertools
import json
import re
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from dashboard import OF_POOL, PANELS, WIDTH, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE_INCHES = (15.0, 21.0)
DOTS_PER_INCH = 80
NUMBER_HEIGHT, PANEL_HEIGHT = 0.3, 1.0  # relative heights
HEADROOM = 1.5  # of an axis, relative to its highest point
STEP_SECONDS = 1
MARGINS = {"left": 0.04, "right": 0.98, "top": 0.98, "bottom": 0.02, "hspace": 0.4, "wspace": 1.2}
INK, PALE, DECISION = "#2b2b33", "#8a8a94", "#3f6fd8"
UNITS = {"s": "s", "ops": "per s", "percentunit": "share"}

Point = tuple[float, float]  # seconds since the picture's beginning, value
Lines = dict[str, list[Point]]  # by legend


def drawn(url: str, file: Path, *, variables: dict[str, str], began: float, ended: float) -> list[str]:
    """Draw the data of a Prometheus between two moments, in seconds since the epoch.

    `variables` replace Grafana's. Returns the titles of the panels without data.
    """
    from matplotlib.figure import Figure

    def read(query: str, legend: str) -> Lines:
        for name, value in variables.items():
            query = query.replace(f"${name}", value)
        return _lines(_asked(url, query, began, ended), legend, began)

    sizes = read(f"max by (namespace, pool) (agentpool_pool_desired_replicas{{{OF_POOL}}})", "{{pool}}")
    decisions = [at for points in sizes.values() for (_, old), (at, new) in itertools.pairwise(points) if old != new]
    rows = list(_rows())
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH)
    heights = [NUMBER_HEIGHT if row[0].sort == "number" else PANEL_HEIGHT for row in rows]
    grid = figure.add_gridspec(len(rows), WIDTH, height_ratios=heights, **MARGINS)
    empty = []
    for number, row in enumerate(rows):
        column = 0
        for view in row:
            axes = figure.add_subplot(grid[number, column : column + view.width])
            column += view.width
            lines: Lines = {}
            for query, legend in view.queries:
                lines |= read(query, legend)
            if not lines:
                empty.append(view.title)
            _panel(axes, view, lines, decisions, seconds=ended - began)
    figure.savefig(file)
    return empty


def _rows() -> Iterator[list[View]]:
    """Return the panels as Grafana lays them out: side by side until a row is full, or the next part begins."""
    for _, part in itertools.groupby(PANELS, key=lambda view: view.row):
        row: list[View] = []
        for view in part:
            if row and sum(each.width for each in row) + view.width > WIDTH:
                yield row
                row = []
            row.append(view)
        yield row


def _asked(url: str, query: str, began: float, ended: float) -> list[Any]:
    parameters = urllib.parse.urlencode({"query": query, "start": began, "end": ended, "step": STEP_SECONDS})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{parameters}") as answer:  # noqa: S310 - the test's own
        return list(json.load(answer)["data"]["result"])


def _lines(found: list[Any], legend: str, began: float) -> Lines:
    """Return the series under their legends, as Grafana fills them in; values that are not numbers are left out."""
    lines: Lines = {}
    for series in found:
        labels = series["metric"]
        name = re.sub(r"{{(\w+)}}", lambda match, labels=labels: labels.get(match[1], ""), legend)
        points = [(at - began, float(value)) for at, value in series["values"] if value not in {"NaN", "+Inf"}]
        if points:
            lines.setdefault(name.strip(), []).extend(points)
    return lines


def _panel(axes: Any, view: View, lines: Lines, decisions: list[float], *, seconds: float) -> None:
    axes.set_title(view.title, loc="left", fontsize=9, color=INK, fontweight="bold")
    if not lines:
        _words(axes, f"no data here: needs {view.needs}" if view.needs else "no data", size=9, colour=PALE)
        return
    if view.sort == "number":
        (points,) = lines.values()
        _words(axes, f"{max(value for _, value in points):g} at most", size=15, colour=DECISION)
        return
    draw: Callable[[Any, View, Lines], None] = _spans if view.sort == "states" else _curves
    draw(axes, view, lines)
    for moment in decisions:
        axes.axvline(moment, color=DECISION, linewidth=0.5, alpha=0.25, zorder=0)
    axes.set_xlim(0, seconds)
    axes.tick_params(labelsize=7, colors=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)


def _words(axes: Any, text: str, *, size: int, colour: str) -> None:
    axes.axis("off")
    axes.text(0.0, 0.5, text, fontsize=size, color=colour, transform=axes.transAxes, va="center")


def _curves(axes: Any, view: View, lines: Lines) -> None:
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.3, drawstyle="steps-post")
    highest = max(value for points in lines.values() for _, value in points)
    axes.set_ylim(0, HEADROOM * highest or 1)  # the legend stands above the lines
    axes.set_ylabel(UNITS.get(view.unit, ""), fontsize=7, color=PALE)
    axes.legend(fontsize=7, frameon=False, loc="upper right", labelcolor=INK)


def _spans(axes: Any, view: View, lines: Lines) -> None:
    """Draw states: a bar for every second of a state, under its text."""
    spans: Lines = {}
    for name, points in lines.items():
        for at, value in points:
            state = view.states[int(value)] if value < len(view.states) else f"{value:g}"
            spans.setdefault(f"{name}: {state}", []).append((at, value))
    for height, (name, points) in enumerate(sorted(spans.items())):
        axes.broken_barh([(moment, STEP_SECONDS) for moment, _ in points], (height, 0.45))
        axes.text(0, height + 0.55, name, fontsize=7, color=INK)
    axes.set_ylim(0, len(spans))
    axes.set_yticks([])
