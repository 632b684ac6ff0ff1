"""`python -m tests.simulation --seed N [--schedules M | --mutants [--write]]`: tell a story, run many, or hunt mutants.

`--write` writes the table of docs/simulation.md.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import click

from tests.fixtures.tables import rewrite_table
from tests.mutants.catalogue import CATALOGUE
from tests.simulation.grounds import simulated_server
from tests.simulation.hunt import Catch, findings_of, hunt, workshop
from tests.simulation.schedule import simulate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
BEGIN = "<!-- table: python -m tests.simulation --mutants --write -->"
SLICE_MAX = 250  # schedules between two lines of progress
MUTANT_SCHEDULES = 30


@click.command()
@click.option("--seed", default=1, help="The first seed.")
@click.option("--schedules", type=int, help="How many; a single one, the default, tells its story.")
@click.option("--calls", is_flag=True, help="Tell each call of the server, too.")
@click.option("--processes", default=os.cpu_count() or 1, help="At once.")
@click.option("--mutants", is_flag=True, help=f"Hunt each mutant, for {MUTANT_SCHEDULES} schedules unless --schedules.")
@click.option("--write", is_flag=True, help="Write the mutants' table into docs/simulation.md.")
def main(*, seed: int, schedules: int | None, calls: bool, processes: int, mutants: bool, write: bool) -> None:
    """Run schedules; exit with 1 if one has a finding."""
    if mutants:
        _hunt_all(schedules or MUTANT_SCHEDULES, processes, write=write)
    elif (schedules or 1) == 1:
        sys.exit(_tell(seed, calls=calls))
    else:
        sys.exit(_run_many(range(seed, seed + (schedules or 1)), processes))


def _tell(seed: int, *, calls: bool) -> bool:
    """Tell the story of a schedule; return whether it has findings."""
    with simulated_server() as server:
        outcome = simulate(seed, server, calls=calls)
    for line in outcome.story.lines():
        click.echo(line)
    click.echo(f"seed {seed}: {len(outcome.findings)} findings; history {outcome.story.digest()}")
    return bool(outcome.findings)


def _run_many(seeds: range, processes: int) -> bool:
    """Run schedules on all cores; return whether any has findings."""
    began, done, failed = time.monotonic(), 0, 0
    size = min(SLICE_MAX, -(-len(seeds) // processes))
    slices = [seeds[first : first + size] for first in range(0, len(seeds), size)]
    with workshop(processes) as pool:
        for part, found in zip(slices, pool.imap(findings_of, slices), strict=True):
            done, failed = done + len(part), failed + len(found)
            for number, findings in found:
                click.echo(f"seed {number}: {findings[0]} ({len(findings)} findings)")
            seconds = time.monotonic() - began
            click.echo(f"{done} schedules in {seconds:.0f} s ({done / seconds:.1f} a second): {failed} with findings")
    return failed > 0


def _hunt_all(schedules: int, processes: int, *, write: bool) -> None:
    catches = []
    for catch in hunt([mutant.name for mutant in CATALOGUE], schedules, processes):
        catches.append(catch)
        click.echo(f"{catch.mutant:40} {catch.seed or '-':>4} {catch.finding}")
    click.echo(_sum(catches, schedules))
    if write:
        rewrite_table(PAGE, BEGIN, lambda _: table(catches, schedules))


def _sum(catches: list[Catch], schedules: int) -> str:
    caught = sum(catch.seed is not None for catch in catches)
    return f"{caught} of {len(catches)} mutants found within {schedules} schedules"


def table(catches: list[Catch], schedules: int) -> str:
    """Return the outcomes as Markdown: the mutants that were found, by schedules, then the names of the others."""
    found = sorted((catch for catch in catches if catch.seed), key=lambda catch: (catch.seed or 0, catch.mutant))
    rows = [f"| `{catch.mutant}` | {catch.seed} | {_cell(catch.finding)} |" for catch in found]
    missed = ", ".join(f"`{catch.mutant}`" for catch in catches if not catch.seed)
    head = "| mutant | schedules | first finding |\n|---|---|---|"
    return "\n".join([f"{_sum(catches, schedules)}.\n", head, *rows, f"\nNot found: {missed or 'none'}."])


def _cell(finding: str) -> str:
    text = re.sub(r"[{}|<>]", " ", " ".join(finding.split()))
    return text if len(text) <= 90 else f"{text[:88]}…"


if __name__ == "__main__":
    main()
