"""`agentpool signal`: send a signal to a job, which resumes the job if it waits for this name."""

from __future__ import annotations

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.payloads import payload_of
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId, Json

EPILOG = (
    """\b
Examples:
  agentpool signal 0193f6c2a1b-9f86d081 approval '{"approved": true}' --pool research/analysts
  agentpool signal 0193f6c2a1b-9f86d081 approval @decision.json --id decision-7

A signal that comes before the job waits for it is kept."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("job")
@click.argument("name")
@click.argument("value", required=False)
@pool_options
@click.option("--id", "signal_id", help="Id of this signal: a second signal of the same id has no effect.")
def signal(*, job: str, name: str, value: str | None, target: Target, signal_id: str | None) -> None:
    """Send a signal NAME to a JOB. VALUE is JSON, `-` for standard input, or @FILE; default: null."""
    outcome = run(_signal(target, JobId(job), name, payload_of(value), signal_id))
    told = "has this signal already" if outcome == "duplicate" else f"has the signal {name!r}"
    say(f"job {job} {told}")


async def _signal(target: Target, job_id: JobId, name: str, value: Json, signal_id: str | None) -> str:
    from agentpool_core.queue.producer import Producer

    async with open_redis(target) as redis:
        return (await Producer(redis, target.pool).signal(job_id, name, value, signal_id=signal_id)).value
