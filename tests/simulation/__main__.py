"""`python -m tests.simulation --seed N [--schedules M]`: run one schedule and print its story, or many."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing import get_context

import click

from tests.simulation.grounds import simulated_server
from tests.simulation.schedule import simulate

REPORT_SECONDS = 5.0


def _run(task: tuple[int, int, int]) -> list[tuple[int, list[str]]]:
    """Run every `step`-th of the schedules; return those with findings."""
    first, last, step = task
    with simulated_server() as server:
        found = [(seed, simulate(seed, server).findings) for seed in range(first, last, step)]
    return [(seed, findings) for seed, findings in found if findings]


@click.command()
@click.option("--seed", default=1, help="The first seed.")
@click.option("--schedules", default=1, help="How many; a single one prints its story.")
@click.option("--calls", is_flag=True, help="Tell each call of the server, too.")
@click.option("--processes", default=os.cpu_count() or 1, help="At once.")
def main(*, seed: int, schedules: int, calls: bool, processes: int) -> None:
    """Run schedules; exit with 1 if one has a finding."""
    began = time.monotonic()
    if schedules == 1:
        with simulated_server() as server:
            outcome = simulate(seed, server, calls=calls)
        for line in outcome.story.lines():
            click.echo(line)
        click.echo(f"seed {seed}: {len(outcome.findings)} findings; history {outcome.story.digest()}")
        sys.exit(bool(outcome.findings))
    failed = 0
    with get_context("spawn").Pool(processes) as pool:
        tasks = [(seed + number, seed + schedules, processes) for number in range(processes)]
        for found in pool.imap_unordered(_run, tasks):
            for number, findings in found:
                failed += 1
                click.echo(f"seed {number}: {findings[0]} ({len(findings)} findings)")
    seconds = time.monotonic() - began
    click.echo(f"{schedules} schedules in {seconds:.0f} s ({schedules / seconds:.1f} a second): {failed} with findings")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
