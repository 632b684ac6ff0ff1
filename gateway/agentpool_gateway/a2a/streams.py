"""A task's stream: the task first, then its changes, until it ends.

Changes follow the job's events in order, so all streams of a task get the same. The job is read again when it has
ended: its artifacts come before its last status. `None` in a stream is a silence, for which a binding sends a comment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from a2a.types import StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent

from agentpool_core.jobs import Job, JobEvent, JobId, JobState
from agentpool_gateway.a2a.tasks import agent_message, artifacts_of, context_of, status_of, task_of
from agentpool_gateway.a2a.values import timestamp_of
from agentpool_gateway.routes.event_feed import fed

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Entry

Updates = AsyncGenerator[StreamResponse | None, None]
_ENDS = frozenset(state.value for state in JobState if state.terminal)
_WORKING = frozenset({"started", "progress", "yielding", "cancelling"})  # events of a job that runs; others: it waits


async def alone(task: Task) -> Updates:
    """Yield a task and nothing else, for callers without `read`."""
    yield StreamResponse(task=task)


async def follow(entry: Entry, job_id: JobId, history_length: int | None = None) -> Updates:
    """Yield a task and its changes. Raises UnknownJobError, or the refusal of a caller who lost the permission."""
    async with entry.queue.hub.listen() as events:
        job = await entry.queue.inspector.job(entry.pool, job_id)
        yield StreamResponse(task=task_of(job, history_length=history_length))
        if job.state.terminal:
            return
        feed = fed(entry, _later(events, job))
        async with aclosing(feed):
            async for event in feed:
                if event is None:
                    yield None
                    continue
                for update in await _updates(entry, job, event):
                    yield update
                if event.type in _ENDS:
                    return


async def _later(events: AsyncIterator[JobEvent], job: Job) -> AsyncGenerator[JobEvent, None]:
    """Yield the job's events that its record does not know yet."""
    known = {(entry.at_ms, entry.type) for entry in job.history}
    async for event in events:
        if event.job_id == job.job_id and (event.at_ms, event.type) not in known:
            yield event


async def _updates(entry: Entry, before: Job, event: JobEvent) -> list[StreamResponse]:
    context = context_of(before)
    if event.type not in _ENDS:
        return [_status_update(before, _status_of_event(event, context))]
    job = await entry.queue.inspector.job(entry.pool, before.job_id)
    found = [
        TaskArtifactUpdateEvent(task_id=job.job_id, context_id=context, artifact=artifact, last_chunk=True)
        for artifact in artifacts_of(job)
    ]
    return [*(StreamResponse(artifact_update=each) for each in found), _status_update(job, status_of(job))]


def _status_update(job: Job, status: TaskStatus) -> StreamResponse:
    event = TaskStatusUpdateEvent(task_id=job.job_id, context_id=context_of(job), status=status)
    return StreamResponse(status_update=event)


def _status_of_event(event: JobEvent, context: str) -> TaskStatus:
    working = event.type in _WORKING
    found = TaskStatus(
        state=TaskState.TASK_STATE_WORKING if working else TaskState.TASK_STATE_SUBMITTED,
        timestamp=timestamp_of(event.at_ms),
    )
    words = f"{event.type}: {event.detail.partition(chr(10))[0]}" if event.detail else event.type
    found.message.CopyFrom(agent_message(event.job_id, context, event.id, words))
    return found
