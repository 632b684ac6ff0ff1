"""Options that select jobs, common to all commands over many jobs, and the notes about lists that were cut.

`agentpool_core.queue.selector` takes over next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import click

from agentpool_core.cli.output import say
from agentpool_core.durations import milliseconds
from agentpool_core.jobs import JobState
from agentpool_core.queue.selector import JobSelector
from agentpool_core.text import format_count

ALL = "all"


def moment(text: str) -> int:
    """Milliseconds since 1970 of a time, or of a span before now: the type of a click option."""
    span_ms = milliseconds(text)
    if span_ms is not None:
        return round(time.time() * 1000) - span_ms
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time; write 2026-11-28T09:30:00Z, or 2h for two hours ago") from error
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def selector_options(*states: JobState) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of a selector to a command, and pass it a `selector`; `states`: choices of `--state`, if any."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_selector(*args: Any, **given: Any) -> Any:
            return function(*args, selector=_selector_of(given, states), **given)

        command: Callable[..., Any] = with_selector
        for option in reversed(_options(states)):
            command = option(command)
        return command

    return decorate


def _options(states: Sequence[JobState]) -> list[Callable[..., Any]]:
    choice = click.Choice([*(state.value for state in states), ALL])
    time_forms = "A time such as 2026-11-28T09:30:00Z, or 2h for two hours ago."
    return [
        *([click.option("--state", "states", multiple=True, type=choice, help="May be repeated.")] if states else []),
        click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Jobs of this kind. May be repeated."),
        click.option("--route", "routes", multiple=True, metavar="ROUTE", help="Jobs of this route. May be repeated."),
        click.option(
            "--tenant", "tenants", multiple=True, metavar="TENANT", help="Jobs of this tenant. May be repeated."
        ),
        click.option(
            "--tag",
            "tags",
            multiple=True,
            metavar="TAG",
            help="Jobs with this tag. Repeated: jobs with all of the tags.",
        ),
        click.option("--error", metavar="TEXT", help="Jobs with this text in the error."),
        click.option(
            "--error-group", metavar="TEXT", help="Jobs of this group of errors: … stands for a number or an id."
        ),
        click.option("--submitted-after", type=moment, metavar="WHEN", help=time_forms),
        click.option("--submitted-before", type=moment, metavar="WHEN", help="Likewise."),
    ]


def _selector_of(given: dict[str, Any], states: Sequence[JobState]) -> JobSelector:
    """Return the selector of the options, which are taken out of `given`."""
    named = given.pop("states", ())
    return JobSelector(
        states=tuple(states) if ALL in named else tuple(JobState(state) for state in named),
        kinds=given.pop("kinds"),
        routes=given.pop("routes"),
        tenants=given.pop("tenants"),
        tags=given.pop("tags"),
        error=given.pop("error"),
        error_group=given.pop("error_group"),
        submitted_after_ms=given.pop("submitted_after"),
        submitted_before_ms=given.pop("submitted_before"),
    )


def check_choice(jobs: Sequence[str], selector: JobSelector, *, everything: bool) -> None:
    """Refuse a command that names no jobs, or names them twice: by id, by conditions, or all."""
    ways = [bool(jobs), not selector.is_empty, everything]
    if sum(ways) != 1:
        raise click.UsageError("name the JOBs, or select them (--state, --kind, --route, --tag …), or pass --all")


def note_cut(shown: int, of: str) -> None:
    """Say on standard error that a list goes on."""
    say(
        f"note: only the first {format_count(shown, 'job')} of {of}; there are more: raise --limit, or use --limit 0",
        err=True,
    )
