"""`python -m tests.mutation [--sample N] [--seed N] [--write]`: change modules at random, and see that tests notice.

Exit code 1 if a change survives without an explanation. `--write` writes the table of docs/mutants.md.
"""

from __future__ import annotations

import sys

import click

from tests.fixtures.tables import rewrite_table
from tests.mutation.changes import count_places, sample
from tests.mutation.judge import Outcome, Verdict, check_unchanged, judge
from tests.mutation.subjects import ROOT, SUBJECTS

PAGE = ROOT / "docs" / "mutants.md"
BEGIN = "<!-- table: make mutation -->"


def table(verdicts: list[Verdict], seed: int) -> str:
    """Return the counts of each module and the survivors as Markdown."""
    rows = []
    for subject in SUBJECTS:
        outcomes = [verdict.outcome for verdict in verdicts if verdict.change.subject == subject]
        killed = sum(outcome in {Outcome.KILLED, Outcome.ENDLESS} for outcome in outcomes)
        survived = f"{outcomes.count(Outcome.EXPLAINED)} | {outcomes.count(Outcome.SURVIVED)}"
        rows.append(f"| `{subject.path}` | {count_places(subject)} | {len(outcomes)} | {killed} | {survived} |")
    survivors = [
        f"| `{v.change.subject.name}` | {_code(v.change.line)} | {_code(v.change.becomes)} | {v.reason or '**none**'} |"
        for v in sorted(verdicts, key=lambda verdict: (verdict.change.subject.path, verdict.change.line))
        if v.outcome in {Outcome.EXPLAINED, Outcome.SURVIVED}
    ]
    lines = [
        "| module | places | changes tried | killed | survived, explained | survived |",
        "|---|---|---|---|---|---|",
    ]
    lines += [*rows, "", f"Seed {seed}. The survivors:", ""]
    return "\n".join([*lines, "| module | line | change | explanation |", "|---|---|---|---|", *survivors])


def _code(line: str) -> str:
    """Return a line of a program for a cell of a table."""
    escaped = line.replace("|", r"\|")
    return f"`{escaped}`" if line else "(removed)"


@click.command()
@click.option("--sample", "size", default=260, show_default=True, help="Number of changes.")
@click.option("--seed", default=19, show_default=True, help="Selects the changes.")
@click.option("--jobs", default=1, show_default=True, help="Changes at once.")
@click.option("--write", is_flag=True, help="Write the table of docs/mutants.md.")
def main(*, size: int, seed: int, jobs: int, write: bool) -> None:
    """Change operators, constants and conditions of Python modules, one at a time."""
    changes, verdicts = sample(SUBJECTS, size, seed), []
    for subject in dict.fromkeys(change.subject for change in changes):
        check_unchanged(subject)
    for verdict in judge(changes, at_once=jobs):
        verdicts.append(verdict)
        change = verdict.change
        click.echo(f"{verdict.outcome:24} {change.subject.name}: {change.line}  ->  {change.becomes}")
    survivors = sum(verdict.outcome is Outcome.SURVIVED for verdict in verdicts)
    explained = sum(verdict.outcome is Outcome.EXPLAINED for verdict in verdicts)
    killed = len(verdicts) - survivors - explained
    click.echo(f"{len(verdicts)} changes: {killed} killed, {explained} explained, {survivors} survived")
    if write:
        rewrite_table(PAGE, BEGIN, lambda _: table(verdicts, seed))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
