"""The reason why a job has not started, in a sentence, from the record and its pool's queue. Pure.

Uses only data in Redis, because a user may have no cluster access. `get` shows the reason under the job, `wait` prints
the reason once on a terminal, and the console has it on the job's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.durations import format_duration
from agentpool_core.jobs import FAILURES, JobState
from agentpool_core.queue.limits import LimitBy
from agentpool_core.text import format_count, render_value

if TYPE_CHECKING:
    from agentpool_core.jobs import BudgetUse, Job
    from agentpool_core.queue.snapshots import QueueSnapshot, RouteSnapshot

GROUP_LIMIT = "+map"  # name of the limit of a group of children
UNKNOWN_KIND_REMEDY = "start a worker with that handler, or the job fails after spec.queue.unknownKindSeconds"


def pending_reason(job: Job, queue: QueueSnapshot) -> str | None:
    """Return the reason; None for a job that runs or has ended."""
    match job.state:
        case JobState.SCHEDULED:
            return _until_due(job, queue)
        case JobState.BLOCKED:
            return f"the job waits for {', '.join(job.after)}"
        case JobState.WAITING:
            return _in_wait(job, queue)
        case JobState.QUEUED:
            return _queued(job, queue)
        case _:
            return None


def _until_due(job: Job, queue: QueueSnapshot) -> str:
    latest = job.history[-1].type if job.history else ""
    if job.reason == "unknown_kind" and latest == "returned":
        return f"no running worker has a handler for kind {job.kind!r}: {UNKNOWN_KIND_REMEDY}"
    after = f" after attempt {job.attempt} failed" if latest in FAILURES else ""
    return f"the job is due in {format_duration((job.due_at_ms or queue.taken_at_ms) - queue.taken_at_ms)}{after}"


def _in_wait(job: Job, queue: QueueSnapshot) -> str:
    left = None if job.due_at_ms is None else format_duration(job.due_at_ms - queue.taken_at_ms)
    at_longest = f", for {left} at the longest" if left else ""
    if job.waits_for_children:
        return f"the job waits for jobs that it has started{at_longest}"
    if job.held_by is not None:
        window = f": its next window is in {left}" if left else ", and the job waits for its next window"
        return f"budget {job.held_by!r} has too little money left for the job's next call{window}"
    if not job.waits_for:
        return f"the job sleeps for {left}" if left else "the job sleeps"
    signals = " or ".join(f"signal {name!r}" for name in job.waits_for)
    if job.question is not None:
        signals += f" to the question {render_value(job.question)}"
    name = job.waits_for[0] if len(job.waits_for) == 1 else "NAME"
    return f"the job waits for {signals}{at_longest}: agentpool signal {job.job_id} {name} VALUE"


def _queued(job: Job, queue: QueueSnapshot) -> str:
    if queue.retired:
        return "the AgentPool is deleted: apply it again, or cancel the job"
    if queue.paused:
        return "the pool is paused: run agentpool resume, or set spec.paused of the AgentPool to false"
    if job.quarantined:
        return _in_quarantine(job, queue)
    if job.held_by == GROUP_LIMIT:
        return f"{job.started_by} lets no more of its children run at once (max_running of ctx.map)"
    if job.held_by is not None:
        return _at_limit(job, job.held_by, queue)
    closed = [limit.name for limit in queue.limits if limit.free == 0 and limit.is_gate_of(job.route)]
    return _at_limit(job, closed[0], queue) if closed else _in_queue(job, queue)


def _in_queue(job: Job, queue: QueueSnapshot) -> str:
    route = next((each for each in queue.routes if each.name == job.route), None)
    if route is not None and route.paused_ms:
        return f"route {route.name!r} is paused for {format_duration(route.paused_ms)}: a handler was overloaded"
    if route is not None and route.limit is not None and route.running >= route.limit:
        running = format_count(route.running, "running job")
        return f"route {route.name!r} has reached its limit with {running} ({_backlog(job, route)})"
    free = [worker for worker in queue.live_workers if worker.name not in queue.cordoned]
    if not free:
        return "no worker claims jobs: `kubectl describe agentpool` and `agentpool doctor` show the cause"
    slots, jobs = sum(worker.slots for worker in free), sum(worker.running for worker in free)
    if jobs * queue.slots_per_job >= slots:
        of_workers = f"of {format_count(len(free), 'worker')}"
        return f"all {format_count(slots, 'slot')} {of_workers} are in use ({_backlog(job, route)})"
    if route is not None and route.slots > 1:
        return f"the job starts when a worker has {route.slots} free slots, or no running job ({_backlog(job, route)})"
    return "the job is about to start"


def _at_limit(job: Job, name: str, queue: QueueSnapshot) -> str:
    limit = next((each for each in queue.limits if each.name == name), None)
    if limit is None:
        return f"the job waits for the limit {name!r}, which the pool no longer has: the job continues shortly"
    subject = {LimitBy.KEY: f" for the key {job.limit_key!r}", LimitBy.TENANT: f" for the tenant {job.tenant!r}"}
    use = job.budget or limit.budget
    opens = job.held_until_ms or limit.opens_at_ms
    spent = "" if opens is None else f", which has room again in {format_duration(max(0, opens - queue.taken_at_ms))}"
    if use is not None:
        spent = f": {_spent(use, queue.taken_at_ms)}"
    waiting = f" ({format_count(limit.waiting, 'job')} {'waits' if limit.waiting == 1 else 'wait'} for it)"
    bound = f"the limit {name!r} of {limit.text}{subject[limit.by] if limit.by else ''}"
    return f"the job waits for {bound}{spent}{waiting if limit.waiting else ''}"


def _spent(use: BudgetUse, now_ms: int) -> str:
    left = format_duration(max(0, use.resets_at_ms - now_ms))
    return f"{use.spent:g} of {use.amount} is spent, and the next window begins in {left}"


def _in_quarantine(job: Job, queue: QueueSnapshot) -> str:
    worker = f"worker {queue.reserved!r}" if queue.reserved else "the next free worker"
    losses = format_count(job.losses, "worker")
    return f"the job is in quarantine, because {losses} ended while running it: the job runs alone on {worker}"


def _backlog(job: Job, route: RouteSnapshot | None) -> str:
    waiting = 0 if route is None else route.queued.get(job.priority, 0)
    return f"{format_count(waiting, 'job')} of this route and priority {'waits' if waiting == 1 else 'wait'}"
