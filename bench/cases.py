"""The five failures that AgentPool exists to end, each before and after, in a table and a picture.

Every case is a benchmark (`sequential`, `hosts`, `barrier`, `fanout`, `races`), with a small model of the old
behaviour; here they run in sequence and their figures stand side by side. `CASES_PICTURE` names an SVG file for the
picture. docs/performance.md shows both, the README the comparison.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench import barrier, cases_picture, fanout, hosts, races, sequential
from bench.cases_picture import Case
from bench.report import Report

if TYPE_CHECKING:
    from bench.report import Figure

NAME = "cases"
PARTS = (sequential, hosts, barrier, fanout, races)


async def run() -> Report:
    """Run all five in sequence."""
    reports = {part.NAME: await part.run() for part in PARTS}
    cases = _cases(reports)
    _draw(cases)
    figures = {}
    for case in cases:
        figures[f"{case.title}: before"] = case.before
        figures[f"{case.title}: after"] = case.after
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            f"{name}: {ratio}": report.ratios[ratio] for name, report in reports.items() for ratio in report.ratios
        },
        required={
            f"{name}: {ratio}": bar for name, report in reports.items() for ratio, bar in report.required.items()
        },
        notes=[f"{case.title}: {case.measure}" for case in cases],
        digest=_digest(cases),
        parts=tuple(reports.values()),
    )


def _digest(cases: list[Case]) -> str:
    """Return before and after of each case, with the spread of its rounds."""
    rows = [f"| {each.title} | {each.measure} | {_shown(each.before)} | {_shown(each.after)} |" for each in cases]
    return "\n".join(["| what went wrong | measured | before | after |", "|---|---|---|---|", *rows])


def _shown(figure: Figure) -> str:
    return f"{figure.median:,.4g} {figure.unit} ({min(figure.runs):,.4g} to {max(figure.runs):,.4g})"


def _draw(cases: list[Case]) -> None:
    if picture := os.environ.get("CASES_PICTURE"):
        Path(picture).write_text(cases_picture.drawn(cases), encoding="utf-8")


def _cases(reports: dict[str, Report]) -> list[Case]:
    delay, makespan, steps, busy, race = (
        reports[name].figures for name in ("sequential", "hosts", "barrier", "fanout", "races")
    )
    return [
        Case(
            title="one job at a time",
            measure="longest wait of 20 runs that reach one worker together",
            before=delay["longest delay, 1 slot"],
            after=delay[f"longest delay, {sequential.SLOTS} slots"],
        ),
        Case(
            title="one slot per agent type",
            measure="30 mixed tasks on three hosts; no schedule does better than 200 s",
            before=makespan["one slot per type"],
            after=makespan["limits 2/3/2"],
        ),
        Case(
            title="superstep barrier",
            measure="six chains of unequal jobs, from first submit to last end",
            before=steps["supersteps with a barrier"],
            after=steps["dependencies"],
        ),
        Case(
            title="busy means dropped",
            measure="delegations dropped of 2,000 sent at once to a pool of 20 slots",
            before=busy["refusing: dropped"],
            after=busy["queued: dropped"],
        ),
        Case(
            title="double execution",
            measure="jobs run twice of 300, by two workers on one queue",
            before=race["status read, then written: run twice"],
            after=race["atomic claim: run twice"],
        ),
    ]
