"""Waiting for jobs to end, and telling how they ended: what `wait` and `submit --wait` share.

An end is learnt from the pool's events, at once; every `CHECK_S` the jobs themselves are read as well, so that an
event that was trimmed away cannot leave a wait hanging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from agentpool.commands.output import Format, as_json, emit, table
from agentpool.documents import job_document
from agentpool.jobs import Job, JobId, JobState, PoolRef

if TYPE_CHECKING:
    from agentpool.queue.connection import RedisClient
    from agentpool.queue.inspect import Inspector

UNSUCCESSFUL_EXIT = 3  # a job ended without a result
TIMEOUT_EXIT = 4  # a job has not ended yet
CHECK_S = 1.0  # seconds between readings of the jobs, for lost events
_ENDS = frozenset(state.value for state in JobState if state.terminal)


async def wait_and_show(
    redis: RedisClient, pool: PoolRef, ids: Sequence[JobId], timeout_ms: int | None, output: Format
) -> int:
    """Waits for all of them, prints how they ended, and returns the exit code. Raises UnknownJobError."""
    from agentpool.queue.inspect import Inspector

    ended: dict[JobId, Job] = {}
    try:
        async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
            await _collect(Inspector(redis), pool, ids, ended)
    except TimeoutError:
        left = [job_id for job_id in ids if job_id not in ended]
        click.echo(f"error: {len(left)} of {len(ids)} jobs have not ended in time: {left[0]}, …", err=True)
        return TIMEOUT_EXIT
    jobs = [ended[job_id] for job_id in ids]
    _show(jobs, pool, output)
    return 0 if all(job.state is JobState.SUCCEEDED for job in jobs) else UNSUCCESSFUL_EXIT


async def _collect(inspector: Inspector, pool: PoolRef, ids: Sequence[JobId], ended: dict[JobId, Job]) -> None:
    """Fills `ended` until it holds all of `ids`."""
    waited_for = set(ids)
    told: asyncio.Queue[JobId] = asyncio.Queue()
    listener = asyncio.create_task(_listen(inspector, pool, waited_for, told))
    to_read = waited_for
    try:
        while True:
            for job_id in to_read:
                job = await inspector.job(pool, job_id)
                if job.state.terminal:
                    ended[job_id] = job
            if len(ended) == len(waited_for):
                return
            to_read = await _next(told, listener) or waited_for - ended.keys()
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def _next(told: asyncio.Queue[JobId], listener: asyncio.Task[None]) -> set[JobId]:
    """The jobs that were told to have ended; none when `CHECK_S` passed. Raises what broke the listener."""
    one = asyncio.create_task(told.get())
    done, _ = await asyncio.wait({one, listener}, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
    if listener in done:
        listener.result()
    if one not in done:
        one.cancel()
        return set()
    found = {one.result()}
    while not told.empty():
        found.add(told.get_nowait())
    return found


async def _listen(inspector: Inspector, pool: PoolRef, waited_for: set[JobId], told: asyncio.Queue[JobId]) -> None:
    async for event in inspector.follow(pool):
        if event.job_id in waited_for and event.type in _ENDS:
            told.put_nowait(event.job_id)


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
