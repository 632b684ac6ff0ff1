"""From a job's hash and a stream's entries to the values that people read: Job, JobEvent, HistoryEntry.

`scripts/lib/job.lua` writes the fields, and leaves the plain way of a job (queued, started, ended) out of its log, for
the entry, the lease and the end tell it already; here they are put together. Who takes over next: `inspect`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentpool.jobs import HistoryEntry, Job, JobEvent, JobId, JobState, Priority, WorkerId
from agentpool.queue.bodies import decode

SUSPECT_LOSSES = 2  # as in scripts/lib/job.lua: a job with so many runs alone next time


def fields_of(reply: Any) -> dict[str, str]:
    """Field and value of a hash or an entry, however the client gave them."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def job_of(job_id: str, fields: Mapping[str, str], *, max_attempts: int, timeout_ms: int) -> Job:
    """The whole record; the pool's settings stand in where the job has none of its own."""
    kind, route, priority, own_attempts, own_timeout, _flags = fields["spec"].split("|")
    history = history_of(fields)
    state = JobState(fields["state"])
    _token, attempt, claimed, worker = (fields.get("lease") or "0 0 0 ").split(" ", 3)
    entry = fields.get("entry")
    return Job(
        job_id=JobId(job_id),
        state=state,
        kind=kind,
        route=route,
        priority=Priority(priority),
        payload=decode(fields["payload"]),
        attempt=int(attempt),
        max_attempts=int(own_attempts) if own_attempts else max_attempts,
        timeout_ms=int(own_timeout) if own_timeout else timeout_ms,
        submitted_at_ms=history[0].at_ms,
        enqueued_at_ms=int(entry.partition("-")[0]) if entry else None,
        claimed_at_ms=int(claimed) or None,
        finished_at_ms=history[-1].at_ms if state.terminal else None,
        due_at_ms=_number(fields.get("due")) if state in {JobState.SCHEDULED, JobState.BLOCKED} else None,
        expires_at_ms=_number(fields.get("expires")),
        worker=WorkerId(worker) if worker else None,
        result=_body(fields.get("result")),
        error=fields.get("error"),
        reason=fields.get("reason"),
        progress=_body(fields.get("progress")),
        checkpoint=_body(fields.get("checkpoint")),
        after=tuple(JobId(parent) for parent in fields.get("after", "").split()),
        idempotency_key=fields["idem"].partition(" ")[2] if "idem" in fields else None,
        cancel_requested="cancel" in fields,
        losses=int(fields.get("losses") or 0),
        quarantined=_quarantined(state, fields),
        history=history,
    )


def _quarantined(state: JobState, fields: Mapping[str, str]) -> bool:
    if state is JobState.RUNNING:
        return "alone" in fields
    return state is JobState.QUEUED and int(fields.get("losses") or 0) >= SUSPECT_LOSSES


def history_of(fields: Mapping[str, str]) -> tuple[HistoryEntry, ...]:
    """A job's own history, oldest first."""
    lines = fields.get("log", "").splitlines()
    if not lines and "entry" in fields:
        lines.append(f"queued {fields['entry'].partition('-')[0]} 0 ")
    claims, attempt, claimed, worker = (fields.get("lease") or "0 0 0 ").split(" ", 3)
    started = f"started {claimed} "
    if claims != "0" and claimed != "0" and not any(line.startswith(started) for line in lines):
        lines.append(f"{started}{attempt} {worker}")
    if "ended" in fields:
        lines.append(f"{fields['state']} {fields['ended']} {attempt} {worker}")
    return tuple(_history_entry(line) for line in lines)


def _history_entry(line: str) -> HistoryEntry:
    change, at_ms, attempt, worker = line.split(" ", 3)
    holder = WorkerId(worker) if worker else None
    return HistoryEntry(at_ms=int(at_ms), type=change, attempt=int(attempt), worker=holder)


def events_of(entry_id: str, fields: Mapping[str, str]) -> list[JobEvent]:
    """The events in one entry of the stream: those of one script share it. Their ids are ENTRY.NUMBER."""
    return [_event(f"{entry_id}.{number}", text) for number, text in enumerate(fields.values())]


def _event(event_id: str, text: str) -> JobEvent:
    change, job_id, label, attempt, worker, detail = text.split(" ", 5)
    kind, route, priority = label.split("|")
    return JobEvent(
        id=event_id,
        type=change,
        job_id=JobId(job_id),
        at_ms=int(event_id.partition("-")[0]),
        kind=kind,
        route=route,
        priority=Priority(priority),
        attempt=int(attempt),
        worker=WorkerId(worker) if worker else None,
        detail=detail or None,
    )


def _number(text: str | None) -> int | None:
    return int(float(text)) if text else None


def _body(text: str | None) -> Any:
    return decode(text) if text else None
