"""`python -m tests.kills [--runs N] [--example NAME …] [--write]`: kill workers at every step of the examples.

Exit code 1 on a finding. `--write` writes the table of docs/frameworks.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from tests.fixtures.redis import RedisServer
from tests.fixtures.tables import rewrite_table
from tests.kills import matrix

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks.md"
BEGIN = "<!-- table: make kills -->"
HEAD = (
    "workers killed", "after a step", "during a step", "at random", "steps and moments", "stored steps that ran again",
    "jobs lost", "results or steps that differ",
)  # fmt: skip


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="Workers to kill, of all examples.")
@click.option("--example", "names", multiple=True, type=click.Choice(list(matrix.EXAMPLES)), help="Default: all.")
@click.option("--jobs", default=1, show_default=True, help="Jobs of a killed worker.")
@click.option("--seed", default=0, show_default=True, help="Chooses the moments of kills.")
@click.option("--forget", is_flag=True, help="Let workers forget their steps: the matrix must find that.")
@click.option("--write", is_flag=True, help="Write the table of docs/frameworks.md.")
def main(*, runs: int, names: tuple[str, ...], jobs: int, seed: int, forget: bool, write: bool) -> None:
    """Kill workers at every step of the adapters' examples, and judge the results."""
    begun = time.monotonic()
    server = RedisServer().start()
    try:
        directory = Path(tempfile.mkdtemp(prefix="kills-"))
        click.echo(f"logs are in {directory}")
        chosen = list(names or matrix.EXAMPLES)
        outcomes = asyncio.run(matrix.run(chosen, runs, server.url, directory, jobs=jobs, seed=seed, forget=forget))
    finally:
        server.kill()
    text = f"{table(outcomes)}\n\n{datetime.now(UTC):%Y-%m-%d}, seed {seed}, {time.monotonic() - begun:.0f} s.\n"
    click.echo(text)
    findings = [finding for outcome in outcomes.values() for finding in outcome.findings]
    for finding in findings:
        click.echo(f"  {finding}")
    if write:
        rewrite_table(PAGE, BEGIN, lambda _: text)
    sys.exit(1 if findings else 0)


def table(outcomes: Mapping[str, matrix.Outcome]) -> str:
    """Return the outcomes as Markdown."""
    rows = [[name, *map(str, _row(outcome))] for name, outcome in outcomes.items()]
    sums = [str(sum(column)) for column in zip(*map(_row, outcomes.values()), strict=True)]
    lines = [["example", *HEAD], ["---"] * (len(HEAD) + 1), *rows, ["all", *sums]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(outcome: matrix.Outcome) -> tuple[int, ...]:
    kills = outcome.kills
    faults = (len(outcome.repeated), len(outcome.lost), len(outcome.different))
    return (kills.total(), kills["after"], kills["during"], kills["random"], len(outcome.points), *faults)


if __name__ == "__main__":
    main()
