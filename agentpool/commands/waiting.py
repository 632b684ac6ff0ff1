"""Waiting for jobs to end, and telling how they ended: what `wait` and `submit --wait` share.

Jobs are waited for one after the other, which takes as long as the last of them. Who takes over next:
`agentpool.client`, whose inbox learns of an end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from agentpool.commands.output import Format, as_json, emit, table
from agentpool.documents import job_document
from agentpool.errors import JobEndedError
from agentpool.jobs import Job, JobId, JobState, PoolRef

if TYPE_CHECKING:
    from agentpool.queue.connection import RedisClient

UNSUCCESSFUL_EXIT = 3  # a job ended without a result
TIMEOUT_EXIT = 4  # a job has not ended yet


async def wait_and_show(
    redis: RedisClient, pool: PoolRef, ids: Sequence[JobId], timeout_ms: int | None, output: Format
) -> int:
    """Waits for all of them, prints how they ended, and returns the exit code. Raises UnknownJobError."""
    from agentpool.client import Client

    jobs: list[Job] = []
    async with Client(redis, pool=pool) as client:
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                for job_id in ids:
                    with contextlib.suppress(JobEndedError):
                        await client.result(job_id)
                    jobs.append(await client.job(job_id))
        except TimeoutError:
            click.echo(f"error: job {ids[len(jobs)]!r} has not ended in time; wait longer, or cancel it", err=True)
            return TIMEOUT_EXIT
    _show(jobs, pool, output)
    return 0 if all(job.state is JobState.SUCCEEDED for job in jobs) else UNSUCCESSFUL_EXIT


def _show(jobs: Sequence[Job], pool: PoolRef, output: Format) -> None:
    documents = [job_document(job, pool) for job in jobs]
    if len(jobs) > 1 or output is not Format.TABLE:
        rows = [(job.job_id, job.kind, job.state, job.attempt, job.error or job.reason) for job in jobs]
        text = table(("job", "kind", "state", "attempts", "why"), rows)
        emit(output, documents if len(jobs) > 1 else documents[0], names=[job.job_id for job in jobs], text=text)
        return
    job = jobs[0]
    if job.state is JobState.SUCCEEDED:
        click.echo(as_json(job.result))
    else:
        why = job.error or job.reason or "no reason was given"
        click.echo(f"error: job {job.job_id!r} ended as {job.state}: {why}", err=True)
