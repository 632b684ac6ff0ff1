"""`agentpool cancel`: end waiting jobs, and ask the workers of running jobs to stop them."""

from __future__ import annotations

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId

EPILOG = (
    """\b
Examples:
  agentpool cancel 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool get --state queued -o name | xargs agentpool cancel --reason superseded

Jobs that wait for a cancelled one are cancelled with it, unless they asked to run anyway."""
    + EXIT_CODES
)
_MESSAGES = {
    "cancelled": "cancelled",
    "requested": "its worker was asked to stop it",
    "finished": "had ended before",
}


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@pool_options
@click.option("--reason", default="requested", show_default=True, help="Kept with the job.")
def cancel(*, jobs: tuple[str, ...], target: Target, reason: str) -> None:
    """Cancel jobs."""
    run(_cancel(target, [JobId(job) for job in jobs], reason))


async def _cancel(target: Target, ids: list[JobId], reason: str) -> None:
    from agentpool_core.queue.producer import Producer

    async with open_redis(target) as redis:
        producer = Producer(redis, target.pool)
        for job_id in ids:
            outcome = await producer.cancel(job_id, reason=reason)
            say(f"job {job_id} {_MESSAGES[outcome.value]}")
