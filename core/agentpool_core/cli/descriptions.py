"""`agentpool describe`: everything about a job or a pool as text for people. Pure.

`resource_descriptions` has workers and schedules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agentpool_core.cli.job_tables import end_of, history_table, steps_table, usage_text
from agentpool_core.cli.output import as_json, first_line, table
from agentpool_core.cli.queue_tables import headline, limits_table, routes_table, workers_table
from agentpool_core.durations import format_duration
from agentpool_core.jobs import Job, Json, PoolRef
from agentpool_core.pending_reason import pending_reason
from agentpool_core.text import format_count, one_line, render_value

if TYPE_CHECKING:
    from agentpool_core.cli.fleet import PoolReading
    from agentpool_core.jobs import JobEvent
    from agentpool_core.queue.settings import PoolSettings
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_core.queue.webhooks import Delivery, Webhook

LONGEST_VALUE = 4_000  # characters of a payload or result; `get -o json` has all
INDENT = "  "


def describe_job(
    job: Job, pool: PoolRef, queue: QueueSnapshot, webhooks: Sequence[Webhook] = (), deliveries: Sequence[Delivery] = ()
) -> str:
    """Return a job: its fields, values, history, steps and webhooks."""
    now_ms = queue.taken_at_ms
    parts = [
        fields_text(_job_fields(job, pool, queue)),
        *(value_text(name, value) for name, value in _values(job) if value is not None),
        *([block("Error" if job.error else "Error of an earlier attempt", job.last_error)] if job.last_error else []),
        *(block(name, f"cannot be read: {render_value(raw)}") for name, raw in job.undecodable.items()),
        block("History", history_table(job)),
        *([block("Steps", steps_table(job))] if job.steps else []),
        *([block("Webhooks", webhooks_table(webhooks, deliveries, now_ms))] if webhooks else []),
    ]
    return "\n".join(parts)


def _job_fields(job: Job, pool: PoolRef, queue: QueueSnapshot) -> dict[str, object]:
    now_ms = queue.taken_at_ms
    return {
        "Job": job.job_id,
        "Pool": pool,
        "Kind": job.kind,
        "Route": job.route,
        "Priority": job.priority,
        "Tenant": job.tenant,
        "Started by": job.started_by,
        "Limit key": job.limit_key,
        "Tokens": None if job.tokens is None else f"{job.tokens} expected",
        "Tags": ", ".join(job.tags),
        "State": f"{job.state}, attempt {job.attempt} of {job.max_attempts}",
        "Worker": job.worker,
        "Pending": pending_reason(job, queue),
        "Waits for": ", ".join(job.after),
        "Key": job.idempotency_key,
        "Submitted": moment(job.submitted_at_ms, now_ms),
        "Started": moment(job.claimed_at_ms, now_ms),
        "Ended": moment(job.finished_at_ms, now_ms),
        "Due": moment(job.due_at_ms, now_ms),
        "Expires": moment(job.expires_at_ms, now_ms),
        "Usage": usage_text(job),
        "Timeout": format_duration(job.timeout_ms),
        "Worker losses": job.losses or None,
        "Cancellation": "requested" if job.cancel_requested else None,
        "Outcome": next(iter(end_of(job)), None),
    }


def webhooks_table(webhooks: Sequence[Webhook], deliveries: Sequence[Delivery], now_ms: int) -> str:
    """Return each webhook with the latest try of each message; a webhook without a message waits for its change."""
    rows: list[tuple[object, ...]] = []
    for webhook in webhooks:
        sent = [each for each in deliveries if each.webhook == webhook.name]
        for each in sent:
            age = format_duration(now_ms - each.at_ms)
            rows.append((webhook.name, webhook.url, each.change, each.outcome, each.tries, age, one_line(each.answer)))
        if not sent:
            rows.append((webhook.name, webhook.url, None, "not sent", 0, None, None))
    return table(("webhook", "url", "change", "outcome", "tries", "last try", "answer"), rows)


def describe_pool(
    reading: PoolReading, queue: QueueSnapshot, settings: PoolSettings, dead: Sequence[Job], events: Iterable[JobEvent]
) -> str:
    """Return a pool: its queue, limits, workers, settings, conditions, errors and latest events."""
    errors = Counter(first_line(job.error) or job.reason or "no reason given" for job in dead)
    parts = [
        fields_text({"Pool": reading.pool, **_scaling(reading.resource)}),
        block("Queue", headline(queue)),
        block("Routes", routes_table(queue)),
        *([block("Limits", limits_table(queue))] if queue.limits else []),
        block("Workers", workers_table(queue)),
        block("Settings", fields_text(_settings(settings))),
        *([block("Conditions", found)] if (found := _conditions(reading.resource)) else []),
        *([block("Errors of the oldest dead letters", _errors(errors))] if errors else []),
        block("Latest events", events_table(events, queue.taken_at_ms)),
    ]
    return "\n".join(parts)


def _values(job: Job) -> Iterable[tuple[str, Json]]:
    yield from (("Payload", job.payload), ("Progress", job.progress), ("Checkpoint", job.checkpoint))
    yield "Result", job.result


def fields_text(fields: Mapping[str, object]) -> str:
    """Return lines of name and value, without the empty ones."""
    shown = {name: value for name, value in fields.items() if value not in {None, ""}}
    width = max(map(len, shown)) + 1
    return "\n".join(f"{f'{name}:'.ljust(width)}  {one_line(str(value))}" for name, value in shown.items())


def value_text(name: str, value: Json) -> str:
    """Return a value as JSON below its name, cut where it is long."""
    text = as_json(value)
    left_out = len(text) - LONGEST_VALUE
    if left_out > 0:
        text = f"{text[:LONGEST_VALUE]}\n… {left_out} more characters; `agentpool get JOB -o json` has all"
    return block(name, text)


def block(name: str, text: str) -> str:
    """Return a text, indented below its name."""
    lines = "\n".join(f"{INDENT}{line}".rstrip() for line in text.splitlines())
    return f"{name}:\n{lines}"


def moment(at_ms: int | None, now_ms: int) -> str | None:
    """Return a time with its distance from now; None for None."""
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    span = format_duration(abs(now_ms - at_ms))
    return f"{at} ({span} ago)" if at_ms <= now_ms else f"{at} (in {span})"


def _settings(settings: PoolSettings) -> dict[str, object]:
    return {
        "Attempts": settings.max_attempts,
        "Timeout": format_duration(settings.timeout_ms),
        "Lease": format_duration(settings.lease_ms),
        "Longest queue": format_count(settings.max_depth, "job"),
        "Slots per worker": settings.concurrency,
        "Unlisted kinds": "refused" if settings.refuse_unlisted_kinds else "route default",
        "Results kept": format_duration(settings.retention_results_ms),
        "Dead letters kept": format_duration(settings.retention_dead_ms),
    }


def _scaling(resource: Mapping[str, Any] | None) -> dict[str, object]:
    """Return the workers as the AgentPool reports them; nothing without one."""
    if resource is None:
        return {"AgentPool": "not read; no kubeconfig, or no such AgentPool"}
    status, scaling = resource.get("status") or {}, (resource.get("spec") or {}).get("scaling") or {}
    decision = status.get("lastDecision") or {}
    workers = f"{status.get('desiredReplicas', '?')} desired, {status.get('readyReplicas', '?')} ready"
    return {
        "Workers": f"{workers}, {scaling.get('minReplicas', 0)} to {scaling.get('maxReplicas', '?')} allowed",
        "Reason": decision.get("reason"),
    }


def _conditions(resource: Mapping[str, Any] | None) -> str:
    found = ((resource or {}).get("status") or {}).get("conditions") or []
    rows = [[each.get(name) for name in ("type", "status", "reason", "message")] for each in found]
    return table(("type", "status", "reason", "message"), rows) if rows else ""


def _errors(errors: Counter[str]) -> str:
    return table(("jobs", "error"), [(count, error) for error, count in errors.most_common()])


def events_table(events: Iterable[JobEvent], now_ms: int) -> str:
    """Return the table of events, with the age of each."""
    rows = [
        (format_duration(now_ms - event.at_ms), event.type, event.job_id, event.kind, first_line(event.detail))
        for event in events
    ]
    return table(("age", "event", "job", "kind", "detail"), rows) if rows else "none"
