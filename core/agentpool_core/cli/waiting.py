"""Wait for jobs to end, and report their outcome: shared by `wait` and `submit --wait`.

Jobs are awaited in sequence, which takes as long as the last of them. A lost Redis is reported at once, and given
`PATIENCE_SECONDS` to return. The inbox of `agentpool_core.client` learns of an end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from agentpool_core.cli.connection import reach
from agentpool_core.cli.output import Output, as_json, emit, first_line, say, table
from agentpool_core.documents import job_document
from agentpool_core.errors import JobEndedError, QueueError, QueueUnreachableError
from agentpool_core.jobs import Job, JobId, JobState, PoolRef
from agentpool_core.pending_reason import pending_reason
from agentpool_core.process.cancellation import end
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.client import Client
    from agentpool_core.queue.connection.client import RedisClient

UNSUCCESSFUL_EXIT = 3  # a job ended without a result
TIMEOUT_EXIT = 4  # a job has not ended yet
LOOK_SECONDS = 1.0  # between two looks whether Redis still answers
PATIENCE_SECONDS = 30.0  # without an answer: a restart takes less
LONG_SECONDS = 5.0  # a job not started after this: explain why
T = TypeVar("T")


async def wait_and_show(
    redis: RedisClient, pool: PoolRef, ids: Sequence[JobId], timeout_ms: int | None, output: Output
) -> int:
    """Wait for all jobs, print how each ended, and return the exit code. Raises UnknownJobError."""
    from agentpool_core.client import Client

    jobs: list[Job] = []
    async with Client(redis, pool=pool) as client:
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                for job_id in ids:
                    beside = _accompany(client, job_id) if len(ids) == 1 else _explain_delay(client, job_id)
                    job = await _while_redis_answers(redis, _wait_until_ended(client, job_id), beside)
                    jobs.append(job)  # the number of jobs identifies the awaited job
        except TimeoutError:
            say(f"error: job {ids[len(jobs)]!r} has not ended within the timeout; wait longer, or cancel it", err=True)
            return TIMEOUT_EXIT
        except asyncio.CancelledError:  # Ctrl-C
            first, more = ids[len(jobs)], len(ids) - len(jobs) - 1
            others = f", and so do {format_count(more, 'more job')}" if more else ""
            say(f"job {first} goes on{others}; `agentpool wait {first}` waits for it again", err=True)
            raise
    _show(jobs, pool, output)
    return 0 if all(job.state is JobState.SUCCEEDED for job in jobs) else UNSUCCESSFUL_EXIT


async def _wait_until_ended(client: Client, job_id: JobId) -> Job:
    """Return the job after the end. The client itself waits for ever, regardless of Redis."""
    with contextlib.suppress(JobEndedError):
        await client.result(job_id)
    return await client.job(job_id)


async def _accompany(client: Client, job_id: JobId) -> None:
    """Print, on a terminal, the id, each change and each progress of the job, and why it has not started."""
    if sys.stderr.isatty():
        await asyncio.gather(_report_changes(client, job_id), _explain_delay(client, job_id))


async def _report_changes(client: Client, job_id: JobId) -> None:
    with contextlib.suppress(QueueError):  # the wait itself reports it
        say(f"job {job_id} is {(await client.job(job_id)).state}", err=True)
        async for event in client.events(job_id=job_id):
            detail = f": {first_line(event.detail)}" if event.detail else ""
            say(f"job {job_id} {event.type}{detail}", err=True)


async def _explain_delay(client: Client, job_id: JobId) -> None:
    """Print once, on a terminal, the reason why the job has not started."""
    if not sys.stderr.isatty():
        return
    await asyncio.sleep(LONG_SECONDS)
    with contextlib.suppress(QueueError):  # the wait itself reports it
        if why := pending_reason(await client.job(job_id), await client.queue()):
            say(f"job {job_id} has not started: {why}", err=True)


async def _while_redis_answers(
    redis: RedisClient, work: Coroutine[Any, Any, T], beside: Coroutine[Any, Any, None]
) -> T:
    """Return the result of the work, with `beside` running. Raises QueueUnreachableError after a long silence."""
    task, guard, aside = (
        asyncio.create_task(work),
        asyncio.create_task(_watch_redis(redis)),
        asyncio.create_task(beside),
    )
    try:
        await asyncio.wait({task, guard}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            guard.result()  # raises
        return await task
    finally:
        for each in (aside, guard, task):
            await end(each)


async def _watch_redis(redis: RedisClient) -> None:
    """Report the loss and the return of Redis; raise QueueUnreachableError for a long loss."""
    now = asyncio.get_running_loop().time
    silent_since: float | None = None
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await reach(redis)
        except QueueUnreachableError as error:
            if silent_since is None:
                silent_since = now()
                say(f"{error}; waiting at most {PATIENCE_SECONDS:g} s for Redis to answer", err=True)
            elif now() - silent_since >= PATIENCE_SECONDS:
                raise
        else:
            if silent_since is not None:
                say("Redis answers again", err=True)
            silent_since = None


def _show(jobs: Sequence[Job], pool: PoolRef, output: Output) -> None:
    documents = [job_document(job, pool) for job in jobs]
    if len(jobs) > 1 or not output.is_table:
        rows = [(job.job_id, job.kind, job.state, job.attempt, first_line(_why(job))) for job in jobs]
        text = table(("job", "kind", "state", "attempts", "why"), rows)
        emit(output, documents if len(jobs) > 1 else documents[0], names=[job.job_id for job in jobs], text=text)
        return
    job = jobs[0]
    if job.state is JobState.SUCCEEDED:
        say(as_json(job.result))
    else:
        say(f"error: job {job.job_id!r} ended as {job.state}: {_why(job) or 'no reason given'}", err=True)


def _why(job: Job) -> str | None:
    """Return the reason of an end without a result, ignoring errors and requeues of earlier attempts."""
    if job.state is JobState.SUCCEEDED:
        return None
    return job.error if job.state is JobState.FAILED else job.reason
