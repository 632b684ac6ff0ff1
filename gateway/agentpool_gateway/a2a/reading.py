"""Reading of tasks: a job with its conversation, its output and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2a.types import Task

from agentpool_core.jobs import Job
from agentpool_core.queue.chunks import Chunk
from agentpool_gateway.a2a.output import output_of
from agentpool_gateway.a2a.tasks import artifacts_of, task_of

if TYPE_CHECKING:
    from agentpool_gateway.pools.queues import PoolQueue

MOST_WAITS = 50  # newest of a job; the history of the task has their questions and answers
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
