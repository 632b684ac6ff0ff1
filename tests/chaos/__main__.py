"""`python -m tests.chaos [--seconds N] [--seed N] [--json FILE]`: run once and print a table.

Exit code 1 on a finding.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import random
import signal
import sys
from pathlib import Path

import click

from tests.chaos import endurance, report
from tests.chaos.clocks import ClockMissingError
from tests.chaos.run import run


@click.command()
@click.option("--seconds", default=120.0, show_default=True, help="How long faults are injected.")
@click.option("--seed", type=int, help="Repeats a run's faults and submits; without it: any.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the outcome there too.")
@click.option(
    "--every", type=float, help="Seconds between faults, for endurance: memory, files and keys must stay flat."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw memory, files and keys of such a run there.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and records in this directory.")
def main(
    *,
    seconds: float,
    seed: int | None,
    json_file: Path | None,
    every: float | None,
    plot: Path | None,
    keep: Path | None,
) -> None:
    """Disturb a whole AgentPool system for a while, and judge the results."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("chaos").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as on Ctrl-C: started processes are stopped
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {chosen}, {seconds:g} s of faults")
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    try:
        outcome = asyncio.run(run(seconds, chosen, keep=keep, every_s=every))
    except ClockMissingError as error:
        raise click.ClickException(str(error)) from error
    if every is not None:
        outcome = dataclasses.replace(outcome, findings=(*outcome.findings, *endurance.growths(outcome.samples)))
        click.echo(endurance.table(outcome.samples))
    if plot is not None:
        endurance.draw(outcome.samples, plot)
    click.echo(report.table(outcome))
    if json_file is not None:
        json_file.write_text(json.dumps(dataclasses.asdict(outcome), indent=2) + "\n")
    sys.exit(1 if outcome.findings else 0)


if __name__ == "__main__":
    main()
