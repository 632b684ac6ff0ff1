"""Reading of tasks: a job with its conversation, and the wait until a task ends or asks for input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from a2a.types import Task

from agentpool_core.jobs import Job, JobEvent, JobId
from agentpool_core.process.cancellation import end
from agentpool_core.queue.chunks import Chunk
from agentpool_gateway.a2a.output import output_of
from agentpool_gateway.a2a.tasks import artifacts_of, asks, task_of
from agentpool_gateway.access import rechecks
from agentpool_gateway.access.authority import Verb
from agentpool_gateway.routes.long_polling import job_after

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission
    from agentpool_gateway.pools.queues import PoolQueue

MOST_WAITS = 50  # newest of a job, whose questions and answers are in the history of its task
MOST_OUTPUT_BYTES = 2**20  # of the output in a task, newest first


async def read_task(queue: PoolQueue, job: Job, *, history_length: int | None = None) -> Task:
    """Return a job as a task with its artifacts; see `read_plain_task`."""
    task = await read_plain_task(queue, job, history_length=history_length)
    return with_artifacts(task, job, await read_output(queue, job))


async def read_plain_task(queue: PoolQueue, job: Job, *, history_length: int | None = None) -> Task:
    """Return a job as a task without artifacts. `history_length`: the most messages; None: all that are read."""
    most = MOST_WAITS if history_length is None else min(history_length, MOST_WAITS)
    waits = await queue.inspector.waits(queue.pool, job, most=most)
    return task_of(job, waits=waits, history_length=history_length)


async def read_output(queue: PoolQueue, job: Job, *, most_bytes: int = MOST_OUTPUT_BYTES) -> list[Chunk]:
    """Return the newest chunks of a job's output."""
    if job.claimed_at_ms is None:
        return []
    return await queue.output.newest(job.job_id, most_bytes=most_bytes)


def with_artifacts(task: Task, job: Job, output: list[Chunk]) -> Task:
    """Return the task with the job's output and result as artifacts."""
    task.artifacts.extend([*output_of(output), *artifacts_of(job)])
    return task


async def job_at_rest(admission: Admission, job_id: JobId, wait_s: float) -> Job:
    """Return the job after its end, when it asks for input, after `wait_s`, or when the gateway closes.

    Raises UnknownJobError, and ProblemError if the caller may no longer read.
    """
    if wait_s <= 0:
        return await job_after(admission, job_id, wait_s)
    async with admission.queue.hub.listen(job_id=job_id) as events:
        asking = asyncio.create_task(_until_it_asks(admission, job_id, events))
        ended = asyncio.create_task(job_after(admission, job_id, wait_s))
        try:
            await asyncio.wait((asking, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done() or (job := await asking) is None:
                return await ended
            await rechecks.check(admission, Verb.READ)
            return job
        finally:
            asking.cancel()
            await end(ended)
            await end(asking)


async def _until_it_asks(admission: Admission, job_id: JobId, events: AsyncIterator[JobEvent]) -> Job | None:
    """Return the job when it waits for a signal; None: no more events can be read."""
    job = await admission.queue.inspector.job(admission.pool, job_id)
    if asks(job):
        return job
    async for event in events:
        if event.type == "waiting":
            job = await admission.queue.inspector.job(admission.pool, job_id)
            if asks(job):
                return job
    return None
