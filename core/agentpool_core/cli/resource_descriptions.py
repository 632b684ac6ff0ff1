"""`agentpool describe`: everything about a worker or a schedule as text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from agentpool_core.cli.descriptions import block, events_table, fields_text, moment, value_text
from agentpool_core.cli.output import first_line, table
from agentpool_core.cli.queue_tables import RESERVED
from agentpool_core.durations import format_duration

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent, PoolRef
    from agentpool_core.queue.schedules import ScheduleState
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_core.queue.worker_details import WorkerDetail

DUE_TIMES = 5  # the next so many


def describe_worker(
    detail: WorkerDetail, pool: PoolRef, queue: QueueSnapshot, running: Sequence[Job], events: Iterable[JobEvent]
) -> str:
    """Return a worker: lease, slots, kinds, running jobs, latest failure and latest events."""
    worker, now_ms, failure = detail.worker, queue.taken_at_ms, detail.last_failure
    fields = {
        "Worker": worker.name,
        "Pool": pool,
        "State": ", ".join(_worker_states(detail)),
        "Host": worker.host,
        "Version": worker.version,
        "Kinds": "any" if detail.kinds is None else ", ".join(detail.kinds) or "none",
        "Jobs": f"{worker.running} running, {worker.slots} slots",
        "Note": worker.note,
        "Registered": moment(worker.since_ms or None, now_ms),
        "Lease ends": moment(worker.lease_expires_at_ms, now_ms),
        "Last failure": failure and f"job {failure.job_id}: {first_line(failure.detail)}",
        "Failed": failure and moment(failure.at_ms, now_ms),
    }
    parts = [
        fields_text(fields),
        *([block("Running jobs", _running_table(running, now_ms))] if running else []),
        block("Latest events", events_table(events, now_ms)),
    ]
    return "\n".join(parts)


def describe_schedule(state: ScheduleState, pool: PoolRef, now_ms: int) -> str:
    """Return a schedule: its fields, payload, last run and next due times."""
    schedule = state.schedule
    fields = {
        "Schedule": schedule.name,
        "Pool": pool,
        "Defined by": "the AgentPool" if state.declared else "a client",
        "State": "paused" if state.paused else "active",
        "Kind": schedule.kind,
        "Priority": schedule.priority,
        "Due": schedule.cron or f"every {format_duration(schedule.every_ms or 0)}",
        "Time zone": schedule.time_zone if schedule.cron else None,
        "Missed": schedule.missed,
        "Catch-up": f"at most {schedule.max_catch_up} jobs",
        "Overlap": schedule.overlap,
        "Last due": moment(state.last_due_ms, now_ms),
        "Last outcome": state.last_outcome,
        "Last job": state.last_job_id,
    }
    due = [str(moment(due_ms, now_ms)) for due_ms in islice(_due_times(state), DUE_TIMES)]
    parts = [
        fields_text(fields),
        *([] if schedule.payload is None else [value_text("Payload", schedule.payload)]),
        block("Next due times", "\n".join(due) or "none"),
    ]
    return "\n".join(parts)


def _worker_states(detail: WorkerDetail) -> Iterator[str]:
    yield "live" if detail.live else "lost"
    if detail.cordoned:
        yield "cordoned"
    if detail.reserved:
        yield RESERVED


def _running_table(jobs: Sequence[Job], now_ms: int) -> str:
    rows = [
        (job.job_id, job.kind, job.attempt, job.claimed_at_ms and format_duration(now_ms - job.claimed_at_ms))
        for job in jobs
    ]
    return table(("job", "kind", "attempt", "runs for"), rows)


def _due_times(state: ScheduleState) -> Iterator[int]:
    due_ms = state.next_due_ms
    while due_ms is not None:
        yield due_ms
        due_ms = state.schedule.next_after(due_ms)
