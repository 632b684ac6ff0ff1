"""A pool's queue as text: the headline, the table of routes, the table of workers. Pure."""

from __future__ import annotations

from agentpool_core.cli.output import table
from agentpool_core.durations import format_duration
from agentpool_core.jobs import Priority
from agentpool_core.queue.snapshots import LimitSnapshot, QueueSnapshot, WorkerSnapshot
from agentpool_core.queue.wait_estimate import estimated_wait_ms
from agentpool_core.text import format_count

RESERVED = "reserved for jobs in quarantine"
WORKER_HEADERS = ("worker", "jobs/slots", "lease", "host", "note")


def headline(snapshot: QueueSnapshot) -> str:
    """Return the figures of the whole pool, in two lines."""
    waits = [
        f"{snapshot.queued} queued",
        f"{snapshot.scheduled} scheduled",
        f"{snapshot.blocked} blocked",
        f"{snapshot.waiting} waiting",
        f"{snapshot.dead} failed",
        f"oldest waits {format_duration(snapshot.oldest_wait_ms)}",
    ]
    if snapshot.held:
        waits.insert(1, f"{snapshot.held} held by limits")
    workers = format_count(len(snapshot.live_workers), "worker")
    if snapshot.quarantined:
        waits.insert(1, f"{snapshot.quarantined} in quarantine")
    works = [
        f"{snapshot.running} running",
        f"{snapshot.slots_used} of {format_count(snapshot.slots, 'slot')} used in {workers}",
        _prospect(snapshot),
    ]
    return ", ".join(waits) + "\n" + ", ".join(works)


def _prospect(snapshot: QueueSnapshot) -> str:
    """Describe the expected wait of a new task."""
    if snapshot.retired:
        return "DELETED: accepts no new jobs"
    if snapshot.paused:
        return "PAUSED"
    estimate = estimated_wait_ms(snapshot)
    return "a new task's wait is unknown" if estimate is None else f"a new task would wait {format_duration(estimate)}"


def routes_table(snapshot: QueueSnapshot) -> str:
    """Return the table of routes."""
    rows = [
        (
            route.name,
            route.running,
            "-" if route.limit is None else route.limit,
            *(route.queued.get(priority, 0) for priority in Priority),
        )
        for route in snapshot.routes
    ]
    return table(("route", "running", "limit", *Priority), rows)


def limits_table(snapshot: QueueSnapshot) -> str:
    """Return the table of limits beside the routes' own."""
    rows = [
        (limit.name, limit.text, limit.burst, limit.by, _free_now(limit), limit.waiting) for limit in snapshot.limits
    ]
    return table(("limit", "bound", "burst", "for each", "free now", "waiting"), rows)


def _free_now(limit: LimitSnapshot) -> str | None:
    """Return the starts, tokens, jobs or money that a limit leaves; None: each key or tenant has its own number."""
    if limit.level is not None:
        return f"{limit.level:.0f}"
    if limit.budget is not None:
        return f"{limit.budget.amount - limit.budget.spent:g}"
    return None if limit.free is None else str(limit.free)


def workers_table(snapshot: QueueSnapshot) -> str:
    """Return the table of workers."""
    rows = [worker_cells(worker, snapshot) for worker in snapshot.workers]
    return table(WORKER_HEADERS, rows) if rows else "no workers"


def worker_cells(worker: WorkerSnapshot, snapshot: QueueSnapshot) -> tuple[object, ...]:
    """Return a row below `WORKER_HEADERS`, with running jobs and slots; `lost` after the end of the lease."""
    jobs = f"{worker.running}/{worker.slots}"
    lease = "live" if snapshot.lives(worker) else "lost"
    note = worker.note or (RESERVED if worker.name == snapshot.reserved else None)
    return (worker.name, jobs, lease, worker.host, note)
