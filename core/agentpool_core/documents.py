"""Jobs and queues as JSON documents: NDJSON files, the command line's `-o json`, and the HTTP API.

All entrances share the names of `JobRequest` and `Job`. A time in a request is in seconds, as in Python, or a text with
a unit, as on the command line (`delay: 5`, `delay: "5m"`); a name that ends in `_ms` is in milliseconds. Reading is
strict: a misspelt field is refused by name and never ignored. The producer checks values that only the queue knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agentpool_core.document_fields import (
    check_fields,
    read_anything,
    read_delay_ms,
    read_duration_ms,
    read_flag,
    read_headers,
    read_job_ids,
    read_optional_text,
    read_optional_whole,
    read_text,
    read_texts,
    read_whole,
    refused,
)
from agentpool_core.jobs import (
    FAILURES,
    AfterCondition,
    BudgetUse,
    Job,
    JobEvent,
    JobRequest,
    Json,
    OnConflict,
    PoolRef,
    Priority,
    Receipt,
)
from agentpool_core.queue.chunks import Chunk
from agentpool_core.queue.codec.json_text import UndecodableError, decode
from agentpool_core.queue.codec.layout import BUDGET_WAIT
from agentpool_core.queue.schedule import Missed, Overlap, Schedule
from agentpool_core.queue.schedules import ScheduleState
from agentpool_core.queue.snapshots import HistoryPoint, LimitSnapshot, QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_core.queue.wait_estimate import estimated_wait_ms
from agentpool_core.queue.worker_details import WorkerDetail
from agentpool_core.submission import choice_of
from agentpool_core.text import first_line_of
from agentpool_core.usage_documents import usage_document

Document = dict[str, Any]
Readers = dict[str, Callable[[str, Json], Any]]  # by field
DURATIONS = frozenset({"delay", "ttl", "timeout", "every"})  # fields; each also in milliseconds, as `delay_ms`
BODIES = ("payload", "result", "progress", "checkpoint")  # values of any size up to the limit, as handlers see them
UNLISTED = (*BODIES, "budget", "question", "steps")  # fields of a single record, which lists leave out


def request_from(document: Json) -> JobRequest:
    """Return the request of a document. Raises InvalidJobError naming the field."""
    fields = check_fields("job", document, _READERS, 'send an object such as {"kind": "greet", "payload": {}}')
    if "kind" not in fields:
        raise refused("kind", None, "missing", "name the handler that is to run the job")
    return JobRequest(**_read(fields, _READERS))


def receipt_document(receipt: Receipt) -> Document:
    """Return a receipt. `queued`: the job is stored and has not started."""
    return {
        "job_id": receipt.job_id,
        "state": receipt.state.value,
        "queued": not receipt.state.terminal and receipt.state.value != "running",
        "queue_depth": receipt.queue_depth,
        "duplicate": receipt.duplicate,
    }


def job_document(job: Job, pool: PoolRef) -> Document:
    """Return a job's record, without the history."""
    return {
        "job_id": job.job_id,
        "pool": str(pool),
        "state": job.state.value,
        "kind": job.kind,
        "route": job.route,
        "priority": job.priority.value,
        "payload": job.payload,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "timeout_ms": job.timeout_ms,
        "submitted_at_ms": job.submitted_at_ms,
        "enqueued_at_ms": job.enqueued_at_ms,
        "claimed_at_ms": job.claimed_at_ms,
        "finished_at_ms": job.finished_at_ms,
        "due_at_ms": job.due_at_ms,
        "expires_at_ms": job.expires_at_ms,
        "worker": job.worker,
        "result": job.result,
        "error": job.error,
        "last_error": job.last_error,
        "last_error_attempt": job.last_error_attempt,
        "reason": job.reason,
        "progress": job.progress,
        "checkpoint": job.checkpoint,
        "after": list(job.after),
        "tags": list(job.tags),
        "idempotency_key": job.idempotency_key,
        "limit_key": job.limit_key,
        "tenant": job.tenant,
        "tokens": job.tokens,
        "started_by": job.started_by,
        "held_by": job.held_by,
        "held_until_ms": job.held_until_ms,
        "budget": budget_document(job.budget),
        "cancel_requested": job.cancel_requested,
        "losses": job.losses,
        "quarantined": job.quarantined,
        "undecodable": dict(job.undecodable),
        "waits_for": list(job.waits_for),
        "waits_for_children": job.waits_for_children,
        "usage": usage_document(job.usage),
        "question": job.question,
        "steps": steps_document(job),
    }


def summary_document(job: Job, pool: PoolRef) -> Document:
    """Return a job's record without the history, the steps and the bodies, for a list."""
    return {name: value for name, value in job_document(job, pool).items() if name not in UNLISTED}


def history_document(job: Job) -> list[Document]:
    """Return the history of a job, oldest first."""
    return [
        {"at_ms": entry.at_ms, "type": entry.type, "attempt": entry.attempt, "worker": entry.worker}
        for entry in job.history
    ]


def steps_document(job: Job) -> list[Document]:
    """Return the durable steps of a job, without their results, in the order of their ends."""
    return [
        {
            "name": step.name,
            "outcome": step.outcome.value,
            "attempt": step.attempt,
            "started_at_ms": step.started_at_ms,
            "duration_ms": step.duration_ms,
        }
        for step in job.steps
    ]


def budget_document(use: BudgetUse | None) -> Document | None:
    """Return the use of a budget."""
    if use is None:
        return None
    return {"limit": use.limit, "amount": use.amount, "spent": use.spent, "resets_at_ms": use.resets_at_ms}


def chunk_document(chunk: Chunk) -> Document:
    """Return a chunk of a job's output."""
    return {
        "id": chunk.id,
        "run": chunk.run,
        "attempt": chunk.attempt,
        "number": chunk.number,
        "value": chunk.value,
    }


def event_document(event: JobEvent) -> Document:
    """Return an event of a pool's stream."""
    return {
        "id": event.id,
        "type": event.type,
        "job_id": event.job_id,
        "at_ms": event.at_ms,
        "kind": event.kind,
        "route": event.route,
        "priority": event.priority.value,
        "attempt": event.attempt,
        "worker": event.worker,
        "detail": _event_detail(event),
    }


def _event_detail(event: JobEvent) -> Document | None:
    """Return the detail of an event under a name that says its meaning; None: the event has none."""
    if event.detail is None:
        return None
    if event.type in FAILURES:
        return {"error": event.detail}
    if event.type == "progress":
        return {"progress": _json_or_text(event.detail)}
    if event.type == "signalled":
        return {"signal": event.detail}
    if event.type == "waiting":
        return _wait_detail([signal.partition("=")[0] for signal in event.detail.split()])
    return {"reason": event.detail}


def _wait_detail(names: Sequence[str]) -> Document:
    """Return the signals of a wait, or the budget whose next window the job waits for."""
    budgets = [name.removeprefix(BUDGET_WAIT) for name in names if name.startswith(BUDGET_WAIT)]
    return {"reason": f"budget {budgets[0]}"} if budgets else {"waits_for": list(names)}


def _json_or_text(text: str) -> Json:
    """Return a JSON value; a text that a different program has written as it is."""
    try:
        return decode(text)
    except UndecodableError:
        return text


def queue_document(snapshot: QueueSnapshot, pool: PoolRef) -> Document:
    """Return a pool's queue at a moment."""
    return {
        "pool": str(pool),
        "taken_at_ms": snapshot.taken_at_ms,
        "paused": snapshot.paused,
        "retired": snapshot.retired,
        "depth": snapshot.queued + snapshot.held + snapshot.scheduled + snapshot.blocked,
        "queued": snapshot.queued,
        "running": snapshot.running,
        "slots": snapshot.slots,
        "slots_used": snapshot.slots_used,
        "scheduled": snapshot.scheduled,
        "blocked": snapshot.blocked,
        "waiting": snapshot.waiting,
        "dead": snapshot.dead,
        "held": snapshot.held,
        "quarantined": snapshot.quarantined,
        "oldest_wait_ms": snapshot.oldest_wait_ms,
        "estimated_wait_ms": estimated_wait_ms(snapshot),
        "routes": [_route_document(route) for route in snapshot.routes],
        "limits": [limit_document(limit) for limit in snapshot.limits],
        "workers": [worker_document(worker) for worker in snapshot.workers],
        "totals": {
            "submitted": snapshot.submitted_total,
            "started": snapshot.started_total,
            "finished": snapshot.finished_total,
        },
    }


def pool_history_document(history: Sequence[HistoryPoint], pool: PoolRef) -> Document:
    """Return the points of a pool's last hour, oldest first. Totals only grow; their differences are rates."""
    return {"pool": str(pool), "points": [asdict(point) for point in history]}


def worker_document(worker: WorkerSnapshot) -> Document:
    """Return a worker as last reported."""
    return {
        "name": worker.name,
        "slots": worker.slots,
        "running": worker.running,
        "host": worker.host,
        "version": worker.version,
        "since_ms": worker.since_ms,
        "note": worker.note,
        "lease_expires_at_ms": worker.lease_expires_at_ms,
    }


def worker_detail_document(detail: WorkerDetail) -> Document:
    """Return a worker with its kinds (None: any), its cordon, and the latest failure of a job on it."""
    failure = detail.last_failure
    return worker_document(detail.worker) | {
        "kinds": None if detail.kinds is None else list(detail.kinds),
        "live": detail.live,
        "cordoned": detail.cordoned,
        "reserved": detail.reserved,
        "last_failure": failure
        and {"job_id": failure.job_id, "at_ms": failure.at_ms, "error": first_line_of(failure.detail)},
    }


def _route_document(route: RouteSnapshot) -> Document:
    return {
        "name": route.name,
        "limit": route.limit,
        "slots": route.slots,
        "running": route.running,
        "paused_ms": route.paused_ms,
        "queued": {priority.value: route.queued.get(priority, 0) for priority in Priority},
    }


def limit_document(limit: LimitSnapshot) -> Document:
    """Return a limit of a pool, with its use."""
    return {
        "name": limit.name,
        "by": limit.by and limit.by.value,
        "limit": limit.text,
        "waiting": limit.waiting,
        "free": limit.free,
        "burst": limit.burst,
        "level": limit.level,
    }


def schedule_document(state: ScheduleState) -> Document:
    """Return a schedule, with its next and last runs."""
    schedule = state.schedule
    return {
        "name": schedule.name,
        "kind": schedule.kind,
        "cron": schedule.cron,
        "every_ms": schedule.every_ms,
        "time_zone": schedule.time_zone,
        "payload": schedule.payload,
        "priority": schedule.priority.value,
        "missed": schedule.missed.value,
        "max_catch_up": schedule.max_catch_up,
        "overlap": schedule.overlap.value,
        "suspended": schedule.suspended,
        "declared": state.declared,
        "paused": state.paused,
        "next_due_ms": state.next_due_ms,
        "last_due_ms": state.last_due_ms,
        "last_outcome": state.last_outcome,
        "last_job_id": state.last_job_id,
    }


def schedule_from(name: str, document: Json) -> Schedule:
    """Return the schedule of a document. Raises InvalidJobError naming the field."""
    fields = check_fields("schedule", document, _SCHEDULE_READERS, 'send {"kind": "report", "cron": "0 6 * * *"}')
    if "kind" not in fields:
        raise refused("kind", None, "missing", "name the handler that is to run the jobs")
    return Schedule(name=name, **_read(fields, _SCHEDULE_READERS))


def _read(fields: Mapping[str, Any], readers: Readers) -> Document:
    """Return the values of fields, durations in milliseconds. Raises InvalidJobError naming the field."""
    values = {name: readers[name](name, value) for name, value in fields.items()}
    for name in DURATIONS & values.keys():
        if f"{name}_ms" in values:
            raise refused(name, fields[name], f"{name}_ms is given too", "give one of them")
        values[f"{name}_ms"] = values.pop(name)
    return values


_READERS: Readers = {
    "kind": read_text,
    "payload": read_anything,
    "priority": choice_of(Priority),
    "job_id": read_optional_text,
    "idempotency_key": read_optional_text,
    "on_conflict": choice_of(OnConflict),
    "limit_key": read_optional_text,
    "tenant": read_optional_text,
    "tokens": read_optional_whole,
    "after": read_job_ids,
    "after_condition": choice_of(AfterCondition),
    "delay": read_delay_ms,
    "ttl": read_duration_ms,
    "timeout": read_duration_ms,
    "delay_ms": read_whole,
    "ttl_ms": read_optional_whole,
    "timeout_ms": read_optional_whole,
    "max_attempts": read_optional_whole,
    "preemptible": read_flag,
    "trace": read_headers,
    "tags": read_texts,
}
_SCHEDULE_READERS: Readers = {
    "kind": read_text,
    "cron": read_optional_text,
    "every": read_duration_ms,
    "every_ms": read_optional_whole,
    "time_zone": read_text,
    "payload": read_anything,
    "priority": choice_of(Priority),
    "missed": choice_of(Missed),
    "max_catch_up": read_whole,
    "overlap": choice_of(Overlap),
    "suspended": read_flag,
}
