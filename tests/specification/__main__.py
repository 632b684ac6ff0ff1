"""`python -m tests.specification [--large]`: visit every state of small systems, also with each rule left out."""

from __future__ import annotations

import sys
import time
from dataclasses import fields

import click

from tests.specification.explore import Found, explore
from tests.specification.protocol import Rules
from tests.specification.system import Bounds

SMALL = (
    Bounds(tokens=2, faults=1, waits=False),
    Bounds(tokens=2, faults=1, cancels=False),
    Bounds(jobs=2, tokens=1, steps=0, faults=1, cancels=False, waits=False),
)
LARGE = (
    Bounds(tokens=2, faults=2),
    Bounds(tokens=3, faults=2, cancels=False, waits=False),
    Bounds(tokens=2, steps=2, faults=2, cancels=False, waits=False),
    Bounds(jobs=2, tokens=1, steps=1, faults=1, cancels=False, waits=False),
)


def without(rule: str) -> Found:
    """Explore a system in which one promise is not kept."""
    bounds = Bounds(tokens=2, faults=1, attempts=1, cancels=False, waits=rule == "keeps_signals")
    return explore(bounds, Rules(**{rule: False}))


@click.command()
@click.option("--large", is_flag=True, help="Systems of up to some million states: takes many minutes.")
def main(*, large: bool) -> None:
    """Visit every state of small systems; exit 1 at a broken promise, or at a fault that no promise reveals."""
    failed = False
    for bounds in SMALL + LARGE if large else SMALL:
        began = time.monotonic()
        found = explore(bounds)
        click.echo(
            f"{bounds}\n  {found.states:,} states in {time.monotonic() - began:.0f} s: {found.broken or 'sound'}"
        )
        _tell(found)
        failed = failed or bool(found.broken)
    for rule in fields(Rules):
        found = without(rule.name)
        click.echo(f"without {rule.name}: {found.broken or 'NOT FOUND'}, after {found.states:,} states")
        _tell(found)
        failed = failed or not found.broken
    sys.exit(failed)


def _tell(found: Found) -> None:
    for number, step in enumerate(found.story, 1):
        click.echo(f"    {number}. {step}")


if __name__ == "__main__":
    main()
