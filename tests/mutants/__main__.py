"""`python -m tests.mutants [NAME …] [--first FILE] [--write]`: run the queue's tests on each mutant; name what failed.

Exit code 1 if a mutant survives. `--write` writes the table of docs/mutants.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from tests.fixtures.tables import rewrite_table
from tests.mutants.catalogue import CATALOGUE, Mutant, of_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutants.md"
SUITES = ("tests/integration/queue/test_basics.py", "tests/integration/queue")  # the quick suite first
PLUGINS = ("-ppytest_asyncio.plugin", "-ppytest_timeout")  # further ones take seconds to import
TESTS_FAILED = 1  # pytest's exit code
LIMIT_SECONDS = 600
BEGIN = "<!-- table: make mutants -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Outcome of a mutant."""

    mutant: Mutant
    caught_by: str | None  # the first test that failed; None: the mutant survived


def hunt(mutant: Mutant, first: tuple[str, ...]) -> Verdict:
    """Run the suites, those of `first` before the others, until a test fails."""
    for suite in (*first, *SUITES):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *PLUGINS, "--no-header", "--timeout=90", suite],
            cwd=ROOT,
            env={**os.environ, "AGENTPOOL_TEST_MUTANT": mutant.name, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        found = re.search(r"^(?:FAILED|ERROR) (\S+?)::(\w+)", done.stdout, re.MULTILINE)
        if done.returncode == TESTS_FAILED and found:
            return Verdict(mutant=mutant, caught_by=f"{Path(found[1]).name}: {found[2]}")
        if done.returncode and "Timeout" in done.stdout + done.stderr:
            return Verdict(mutant=mutant, caught_by="a test that never ended")
        if done.returncode:
            raise click.ClickException(f"{mutant.name}: pytest ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return Verdict(mutant=mutant, caught_by=None)


def table(verdicts: list[Verdict], old: str) -> str:
    """Return the verdicts as Markdown, in the catalogue's order; mutants without a new verdict keep their rows."""
    rows = {name: row for row, name in re.findall(r"^(\| `([\w-]+)` .*)$", old, re.MULTILINE)}
    for v in verdicts:
        rows[v.mutant.name] = f"| `{v.mutant.name}` | {v.mutant.wrong} | {v.caught_by or '**survived**'} |"
    known = [rows[mutant.name] for mutant in CATALOGUE if mutant.name in rows]
    return "\n".join(["| mutant | error | first caught by |", "|---|---|---|", *known])


@click.command()
@click.argument("names", nargs=-1)
@click.option("--first", multiple=True, metavar="FILE", help="Run these tests before the others.")
@click.option("--write", is_flag=True, help="Write the table of docs/mutants.md.")
def main(*, names: tuple[str, ...], first: tuple[str, ...], write: bool) -> None:
    """Hunt mutants of the queue."""
    verdicts = []
    for mutant in map(of_name, names) if names else CATALOGUE:
        verdicts.append(hunt(mutant, first))
        click.echo(f"{mutant.name:32} {verdicts[-1].caught_by or 'SURVIVED'}")
    survivors = sum(verdict.caught_by is None for verdict in verdicts)
    click.echo(f"{len(verdicts)} mutants, {len(verdicts) - survivors} caught, {survivors} survived")
    if write:
        rewrite_table(PAGE, BEGIN, lambda old: table(verdicts, old))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
