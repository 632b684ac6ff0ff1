"""The reason why a job has not started, in a sentence, from the record and its pool's queue. Pure.

Uses only data in Redis, because a user may have no cluster access. `get` shows the reason under the job, `wait` prints
it once on a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.cli.output import format_count
from agentpool_core.durations import format_duration
from agentpool_core.jobs import JobState

if TYPE_CHECKING:
    from agentpool_core.jobs import Job
    from agentpool_core.queue.snapshots import QueueSnapshot, RouteSnapshot

UNKNOWN_KIND_REMEDY = "start one that has, or the job fails after spec.queue.unknownKindSeconds"


def pending_reason(job: Job, queue: QueueSnapshot) -> str | None:
    """Return the reason; None for a job that has started or ended."""
    match job.state:
        case JobState.SCHEDULED:
            if job.reason == "unknown_kind" and job.history[-1].type == "returned":
                return f"no running worker has a handler for kind {job.kind!r}: {UNKNOWN_KIND_REMEDY}"
            after = f" after attempt {job.attempt} failed" if job.error_attempt else ""
            return f"it is due in {format_duration((job.due_at_ms or queue.taken_at_ms) - queue.taken_at_ms)}{after}"
        case JobState.BLOCKED:
            return f"it waits for {', '.join(job.after)}"
        case JobState.QUEUED if job.quarantined and not queue.paused:
            return _in_quarantine(job, queue)
        case JobState.QUEUED:
            return _in_the_queue(job, queue)
        case _:
            return None


def _in_the_queue(job: Job, queue: QueueSnapshot) -> str:
    if queue.retired:
        return "its AgentPool was deleted: apply it again, or cancel the job"
    if queue.paused:
        return "its pool is paused: set spec.paused of the AgentPool to false"
    route = next((each for each in queue.routes if each.name == job.route), None)
    if route is not None and route.limit is not None and route.running >= route.limit:
        return (
            f"route {route.name!r} runs {format_count(route.running, 'job')}, as many as it may ({_before(job, route)})"
        )
    free = [worker for worker in queue.live_workers if worker.name not in queue.cordoned]
    if not free:
        return "no worker takes jobs: `kubectl describe agentpool` and `agentpool doctor` name the cause"
    slots = sum(worker.slots for worker in free)
    if sum(worker.running for worker in free) >= slots:
        of_workers = f"of {format_count(len(free), 'worker')}"
        return f"all {format_count(slots, 'slot')} {of_workers} are taken ({_before(job, route)})"
    return "it is about to begin"


def _in_quarantine(job: Job, queue: QueueSnapshot) -> str:
    worker = f"worker {queue.reserved!r}" if queue.reserved else "the next worker that is free"
    losses = format_count(job.losses, "worker")
    return f"it is in quarantine: {losses} ended while they ran it, so it runs alone on {worker}"


def _before(job: Job, route: RouteSnapshot | None) -> str:
    waiting = 0 if route is None else route.queued.get(job.priority, 0)
    return f"{format_count(waiting, 'job')} of its route and priority {'waits' if waiting == 1 else 'wait'}"
