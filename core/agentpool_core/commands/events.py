"""`agentpool events`: follow the events of a pool, optionally from the oldest event kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, first_line, say
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import event_document
from agentpool_core.jobs import JobEvent, JobId
from agentpool_core.text import one_line

EPILOG = (
    """\b
Examples:
  agentpool events --pool research/analysts -f
  agentpool events --job 0193f6c2a1b-9f86d081
  agentpool events -f -o json | jq 'select(.type == "failed")'"""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@pool_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--job", metavar="JOB", help="Only this job's.")
@click.option("--after", default="0", help="Only those after this event id. Default: all that are kept.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="json: one object a line.")
def events(*, target: Target, follow: bool, job: str | None, after: str, output: str) -> None:
    """Print a pool's events."""
    run(_print(target, follow=follow, job=JobId(job) if job else None, after=after, as_lines=output == "json"))


async def _print(target: Target, *, follow: bool, job: JobId | None, after: str, as_lines: bool) -> None:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        await inspector.snapshot(target.pool)  # an unknown pool is an error, not silence
        last, met = after, job is None
        while found := await inspector.events(target.pool, after=last):
            last = found[-1].id
            for event in found:
                if job in {None, event.job_id}:
                    met = True
                    _show(event, as_lines=as_lines)
        if job is not None and not met:
            await inspector.job(target.pool, job)  # raises for an unknown job; events may outlive their job
        if follow:
            async for event in inspector.follow(target.pool, after=last):
                if job in {None, event.job_id}:
                    _show(event, as_lines=as_lines)


def _show(event: JobEvent, *, as_lines: bool) -> None:
    if as_lines:
        say(json.dumps(event_document(event), ensure_ascii=False))
        return
    at = datetime.fromtimestamp(event.at_ms / 1000, tz=UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    place = f"{event.kind} {event.priority}" + (f" on {event.worker}" if event.worker else "")
    detail = f"  {first_line(event.detail)}" if event.detail else ""
    say(one_line(f"{at}  {event.type:<10}  {event.job_id}  {place}{detail}"))
