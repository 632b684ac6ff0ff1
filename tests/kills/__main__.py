"""`python -m tests.kills [--runs N] [--example NAME …]`: kill workers at every step of the adapters' examples.

Exit code 1 on a finding.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from tests.fixtures.redis import RedisServer
from tests.kills import matrix


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="Jobs on killed workers, of all examples.")
@click.option("--example", "names", multiple=True, type=click.Choice(list(matrix.EXAMPLES)), help="Default: all.")
@click.option("--jobs", default=20, show_default=True, help="Jobs of a killed worker.")
@click.option("--seed", default=0, show_default=True, help="Chooses the moments of kills.")
@click.option("--forget", is_flag=True, help="Let workers forget their steps: the matrix must find that.")
def main(*, runs: int, names: tuple[str, ...], jobs: int, seed: int, forget: bool) -> None:
    """Kill workers at every step of the adapters' examples, and judge the results."""
    server = RedisServer().start()
    try:
        directory = Path(tempfile.mkdtemp(prefix="kills-"))
        click.echo(f"logs are in {directory}")
        chosen = list(names or matrix.EXAMPLES)
        outcomes = asyncio.run(matrix.run(chosen, runs, server.url, directory, jobs=jobs, seed=seed, forget=forget))
    finally:
        server.kill()
    for name, outcome in outcomes.items():
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.kills.items()))
        click.echo(f"{name}: {outcome.runs} jobs lost their worker; kills: {kills}; {len(outcome.points)} points")
        for finding in outcome.findings:
            click.echo(f"  {finding}")
    findings = sum(len(outcome.findings) for outcome in outcomes.values())
    click.echo(f"{sum(outcome.runs for outcome in outcomes.values())} jobs lost their worker, {findings} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
