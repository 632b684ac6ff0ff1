"""A task's stream: the task first, then the task's changes, until the task ends or asks for input.

Changes follow the job's events in order, so all streams of a task get the same changes. After the end the job is read
again: artifacts come before the last status. `None` in a stream is a silence: a binding sends a comment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from a2a.types import StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent

from agentpool_core.jobs import HistoryEntry, Job, JobEvent, JobId, JobState, Receipt
from agentpool_gateway.a2a.reading import read_task
from agentpool_gateway.a2a.tasks import STATES, agent_message, artifacts_of, asks, context_of, status_of
from agentpool_gateway.a2a.values import timestamp_of
from agentpool_gateway.routes.event_feed import feed_events

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

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
        yield StreamResponse(task=await read_task(admission, job))
        async for update in _changes(admission, events, job, known=job.history):
            yield update


async def follow_new(
    admission: Admission, submit: Callable[[], Awaitable[Receipt]], history_length: int | None
) -> Updates:
    """Submit a message; yield its task with all changes, from the earliest on. Raises as `follow` and `submit`."""
    async with admission.queue.hub.listen() as events:
        receipt = await submit()
        job = await admission.queue.inspector.job(admission.pool, receipt.job_id)
        known = job.history
        task = await read_task(admission, job, history_length=history_length)
        if not receipt.duplicate:
            known = job.history[:1]
            task.status.CopyFrom(TaskStatus(state=STATES[receipt.state], timestamp=timestamp_of(job.submitted_at_ms)))
            del task.artifacts[:]
        yield StreamResponse(task=task)
        if receipt.duplicate and asks(job):
            return
        async for update in _changes(admission, events, job, known=known):
            yield update


async def _changes(
    admission: Admission, events: AsyncIterator[JobEvent], job: Job, *, known: Sequence[HistoryEntry]
) -> Updates:
    """Yield the changes after those in `known`, until the task ends or asks for input."""
    if any(change.type in _ENDS for change in known[-1:]):
        return
    feed = feed_events(admission, _later(events, job, known))
    async with aclosing(feed):
        async for event in feed:
            if event is None:
                yield None
                continue
            updates = await _updates(admission, job, event)
            for update in updates:
                yield update
            if updates[-1].status_update.status.state in _RESTS:
                return


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
