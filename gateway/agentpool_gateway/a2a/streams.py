"""A task's stream: the task first, then its changes and output, until the task is at rest: it ends or asks for input.

Changes follow the job's events in order, so all streams of a task get the same changes. At rest the job is read again:
artifacts come before the last status. `None` in a stream is a silence: a binding sends a comment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from a2a.types import StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent

from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import HistoryEntry, Job, JobEvent, JobId, JobState, Receipt
from agentpool_core.process.cancellation import end
from agentpool_core.queue.chunks import Chunk
from agentpool_gateway.a2a.output import SentOutput
from agentpool_gateway.a2a.reading import read_output, read_plain_task, with_artifacts
from agentpool_gateway.a2a.tasks import STATES, agent_message, artifacts_of, asks, context_of, status_of
from agentpool_gateway.a2a.values import timestamp_of
from agentpool_gateway.routes.event_feed import feed_events

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

log = logging.getLogger(__name__)
Updates = AsyncGenerator[StreamResponse | None, None]
_ENDS = frozenset(state.value for state in JobState if state.terminal)
_RESTS = frozenset(STATES[JobState(state)] for state in _ENDS) | {TaskState.TASK_STATE_INPUT_REQUIRED}
_BEGINNINGS = frozenset({"queued", "scheduled", "blocked"})  # events of a job before its first attempt


async def single_update(task: Task) -> Updates:
    """Yield a task and nothing more, for callers without `read`."""
    yield StreamResponse(task=task)


async def open_stream(updates: Updates) -> Updates:
    """Return the stream after the first update, so an early error is raised before the answer begins."""
    return _after(await anext(updates), updates)


async def _after(first: StreamResponse | None, rest: Updates) -> Updates:
    async with aclosing(rest):
        yield first
        async for update in rest:
            yield update


async def follow(admission: Admission, job_id: JobId) -> Updates:
    """Yield a task and its changes. Raises UnknownJobError, or the refusal after the caller lost the permission."""
    async with admission.queue.hub.listen(job_id=job_id) as events:
        job = await admission.queue.inspector.job(admission.pool, job_id)
        output = await read_output(admission.queue, job)
        yield StreamResponse(task=with_artifacts(await read_plain_task(admission.queue, job), job, output))
        async for update in _changes(admission, events, job, SentOutput(job, output), known=job.history):
            yield update


async def follow_new(
    admission: Admission, submit: Callable[[], Awaitable[Receipt]], history_length: int | None
) -> Updates:
    """Submit a message; yield its task with all changes, from the earliest on. Raises as `follow` and `submit`."""
    async with admission.queue.hub.listen() as events:
        receipt = await submit()
        job = await admission.queue.inspector.job(admission.pool, receipt.job_id)
        task = await read_plain_task(admission.queue, job, history_length=history_length)
        known, output = job.history, []
        if receipt.duplicate:
            output = await read_output(admission.queue, job)
            task = with_artifacts(task, job, output)
        else:
            known = job.history[:1]
            task.status.CopyFrom(TaskStatus(state=STATES[receipt.state], timestamp=timestamp_of(job.submitted_at_ms)))
        yield StreamResponse(task=task)
        if receipt.duplicate and asks(job):
            return
        async for update in _changes(admission, events, job, SentOutput(job, output), known=known):
            yield update


async def _changes(
    admission: Admission, events: AsyncIterator[JobEvent], job: Job, sent: SentOutput, *, known: Sequence[HistoryEntry]
) -> Updates:
    """Yield the output after that in `sent` and the changes after those in `known`, until the task is at rest."""
    if any(change.type in _ENDS for change in known[-1:]):
        return
    merged = _merged(_later(events, job, known), admission.queue.output_hub.chunks(job.job_id, sent.place))
    feed = feed_events(admission, merged)
    async with aclosing(merged), aclosing(feed):
        async for change in feed:
            if change is None:
                yield None
                continue
            updates = sent.next(change) if isinstance(change, Chunk) else await _updates(admission, job, change)
            at_rest = updates[-1].status_update.status.state in _RESTS
            if at_rest:
                async for update in _rest(admission, job, sent):
                    yield update
            for update in updates:
                yield update
            if at_rest:
                return


async def _rest(admission: Admission, job: Job, sent: SentOutput) -> Updates:
    """Yield the output that was stored before the task came to rest, and the end of its artifact."""
    async for chunk in admission.queue.output.after(job.job_id, sent.place):
        for update in sent.next(chunk):
            yield update
    for update in sent.end():
        yield update


async def _merged(
    events: AsyncGenerator[JobEvent, None], chunks: AsyncGenerator[Chunk, None]
) -> AsyncGenerator[JobEvent | Chunk, None]:
    """Yield the items of both as they come, until either ends."""
    ready: asyncio.Queue[JobEvent | Chunk | None] = asyncio.Queue(maxsize=1)

    async def take(source: AsyncGenerator[JobEvent | Chunk, None]) -> None:
        async with aclosing(source):
            try:
                async for item in source:
                    await ready.put(item)
            except AgentPoolError as error:  # the client subscribes again
                log.warning("a stream of a task ends: %s", type(error).__name__)
        await ready.put(None)

    takers = [asyncio.create_task(take(source)) for source in (events, chunks)]
    try:
        while (item := await ready.get()) is not None:
            yield item
    finally:
        for taker in takers:
            taker.cancel()
        for taker in takers:
            await end(taker)


async def _later(
    events: AsyncIterator[JobEvent], job: Job, known: Sequence[HistoryEntry]
) -> AsyncGenerator[JobEvent, None]:
    """Yield the job's events beyond those in `known`."""
    seen = {(change.at_ms, change.type) for change in known}
    async for event in events:
        if event.job_id == job.job_id and (event.at_ms, event.type) not in seen:
            yield event


async def _updates(admission: Admission, before: Job, event: JobEvent) -> list[StreamResponse]:
    context = context_of(before)
    if event.type not in _ENDS | {"waiting"}:
        return [_status_update(before, _status_of_event(event, context))]
    job = await admission.queue.inspector.job(admission.pool, before.job_id)
    if event.type == "waiting":
        return [_status_update(job, status_of(job) if asks(job) else _status_of_event(event, context))]
    found = [
        TaskArtifactUpdateEvent(task_id=job.job_id, context_id=context, artifact=artifact, last_chunk=True)
        for artifact in artifacts_of(job)
    ]
    return [*(StreamResponse(artifact_update=each) for each in found), _status_update(job, status_of(job))]


def _status_update(job: Job, status: TaskStatus) -> StreamResponse:
    event = TaskStatusUpdateEvent(task_id=job.job_id, context_id=context_of(job), status=status)
    return StreamResponse(status_update=event)


def _status_of_event(event: JobEvent, context: str) -> TaskStatus:
    working = event.type not in _BEGINNINGS or event.attempt > 0
    found = TaskStatus(
        state=TaskState.TASK_STATE_WORKING if working else TaskState.TASK_STATE_SUBMITTED,
        timestamp=timestamp_of(event.at_ms),
    )
    words = f"{event.type}: {event.detail.partition(chr(10))[0]}" if event.detail else event.type
    found.message.CopyFrom(agent_message(event.job_id, context, event.id, words))
    return found
