"""Rows of lists: pools, workers and schedules, each with its document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from agentpool_core.cli.fleet import PoolReading
from agentpool_core.cli.output import table
from agentpool_core.cli.queue_tables import worker_cells
from agentpool_core.cli.watching import Row
from agentpool_core.documents import Document, queue_document, schedule_document, worker_document
from agentpool_core.durations import format_duration
from agentpool_core.jobs import PoolRef
from agentpool_core.queue.schedules import ScheduleState
from agentpool_core.queue.snapshots import QueueSnapshot

POOL_HEADERS = ("pool", "status", "workers", "running", "slots", "queued", "depth", "failed", "oldest")
WIDE_POOL_HEADERS = (*POOL_HEADERS, "ready", "desired", "max", "reason")
SCHEDULE_HEADERS = ("schedule", "kind", "due", "time zone", "next", "last", "outcome", "job")


def pool_row(reading: PoolReading, *, wide: bool) -> Row:
    """Return a pool; its cells are unknown, not zero, if its queue could not be read."""
    cells = (str(reading.pool), *_figures(reading), *(_of_the_resource(reading) if wide else ()))
    steady = cells[:8] + cells[9:]  # without the oldest wait
    name = str(reading.pool)
    return Row(key=name, cells=cells, document=pool_document(reading), name=name, steady=steady)


def schedule_row(state: ScheduleState, pool: PoolRef, *, with_pool: bool) -> Row:
    """Return a schedule, with its next and last runs."""
    schedule = state.schedule
    cells = (
        *((str(pool),) if with_pool else ()),
        schedule.name,
        schedule.kind,
        schedule.cron or f"every {(schedule.every_ms or 0) // 1000}s",
        schedule.time_zone if schedule.cron else None,
        "paused" if state.paused else _moment(state.next_due_ms),
        _moment(state.last_due_ms),
        state.last_outcome,
        state.last_job_id,
    )
    document = {"pool": str(pool), **schedule_document(state)} if with_pool else schedule_document(state)
    return Row(key=f"{pool} {schedule.name}", cells=cells, document=document, name=schedule.name, steady=cells)


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pool_document(reading: PoolReading) -> Document:
    """Return a pool as a document: its queue, and the status of its AgentPool."""
    return {
        "pool": str(reading.pool),
        "problem": reading.problem,
        "queue": queue_document(reading.queue, reading.pool) if reading.queue else None,
        "status": (reading.resource or {}).get("status"),
    }


def _figures(reading: PoolReading) -> Sequence[object]:
    queue = reading.queue
    if queue is None:
        return (f"Unknown: {reading.problem}", *[None] * (len(POOL_HEADERS) - 2))
    return (
        status_of(queue),
        len(queue.live_workers),
        queue.running,
        f"{queue.slots_used}/{queue.slots}",
        queue.queued,
        queue_document(queue, reading.pool)["depth"],
        queue.dead,
        format_duration(queue.oldest_wait_ms) if queue.oldest_wait_ms is not None else None,
    )


def status_of(queue: QueueSnapshot) -> str:
    """Return the state of a pool in a word."""
    if queue.retired:
        return "Deleted"
    return "Paused" if queue.paused else "Active"


def _of_the_resource(reading: PoolReading) -> Sequence[object]:
    resource = reading.resource or {}
    status, scaling = resource.get("status") or {}, (resource.get("spec") or {}).get("scaling") or {}
    reason = (status.get("lastDecision") or {}).get("reason")
    return (status.get("readyReplicas"), status.get("desiredReplicas"), scaling.get("maxReplicas"), reason)


def pools_table(before: Sequence[PoolReading], now: Sequence[PoolReading]) -> str:
    """Return the pools with their rates since the reading before."""
    earlier = {reading.pool: reading.queue for reading in before}
    rows = [
        (str(reading.pool), *_figures(reading), *_rates(earlier.get(reading.pool), reading.queue), *_bounds(reading))
        for reading in now
    ]
    return table((*POOL_HEADERS, "in/s", "out/s", "desired", "max"), rows) if rows else "no pools"


def _rates(before: QueueSnapshot | None, now: QueueSnapshot | None) -> tuple[str | None, str | None]:
    if before is None or now is None or now.taken_at_ms <= before.taken_at_ms:
        return None, None
    seconds = (now.taken_at_ms - before.taken_at_ms) / 1000
    submitted, finished = now.submitted_total - before.submitted_total, now.finished_total - before.finished_total
    return f"{submitted / seconds:.1f}", f"{finished / seconds:.1f}"


def _bounds(reading: PoolReading) -> Sequence[object]:
    return _of_the_resource(reading)[1:3]


def worker_rows(reading: PoolReading, *, with_pool: bool) -> Iterator[Row]:
    """Yield the workers of a pool; `with_pool`: with the pool's name in the first column."""
    queue = reading.queue
    if queue is None:
        return
    for worker in queue.workers:
        cells = worker_cells(worker, queue)
        first = (str(reading.pool),) if with_pool else ()
        yield Row(
            key=f"{reading.pool} {worker.name}",
            cells=(*first, *cells),
            document={"pool": str(reading.pool), **worker_document(worker)},
            name=worker.name,
            steady=cells,
        )
