"""`agentpool queue`: a pool's queue at a moment: depth by route and priority, slots, the oldest wait, the workers."""

from __future__ import annotations

import click

from agentpool_core.cli.connection import opened, run
from agentpool_core.cli.output import EXIT_CODES, Format, counted, emit, output_option, table
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import estimated_wait_ms, queue_document
from agentpool_core.durations import shown
from agentpool_core.jobs import Priority
from agentpool_core.queue.snapshots import QueueSnapshot

RESERVED = "reserved for jobs in quarantine"
EPILOG = (
    """\b
Examples:
  agentpool queue --pool research/analysts
  agentpool queue -o json | jq .depth
  agentpool queue --workers"""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@pool_options
@click.option("--workers", is_flag=True, help="Each worker too, with its slots.")
@output_option
def queue(*, target: Target, workers: bool, output: Format) -> None:
    """Show waiting and running jobs of a pool, and its workers."""
    snapshot = run(_read(target))
    parts = [headline(snapshot), routes_table(snapshot)]
    if workers:
        parts.append(workers_table(snapshot))
    emit(
        output,
        queue_document(snapshot, target.pool),
        names=[route.name for route in snapshot.routes],
        text="\n\n".join(parts),
    )


async def _read(target: Target) -> QueueSnapshot:
    from agentpool_core.queue.inspector import Inspector

    async with opened(target) as redis:
        return await Inspector(redis).snapshot(target.pool)


def headline(snapshot: QueueSnapshot) -> str:
    """The figures of the whole pool, in two lines."""
    slots = sum(worker.slots for worker in snapshot.workers)
    waits = [
        f"{snapshot.queued} queued",
        f"{snapshot.scheduled} scheduled",
        f"{snapshot.blocked} blocked",
        f"{snapshot.dead} dead",
        f"oldest waits {shown(snapshot.oldest_wait_ms)}",
    ]
    if snapshot.quarantined:
        waits.insert(1, f"{snapshot.quarantined} in quarantine")
    works = [
        f"{snapshot.running} running",
        f"{counted(slots, 'slot')} in {counted(len(snapshot.workers), 'worker')}",
        _prospect(snapshot),
    ]
    return ", ".join(waits) + "\n" + ", ".join(works)


def _prospect(snapshot: QueueSnapshot) -> str:
    """Describe the expected wait of a new task."""
    if snapshot.retired:
        return "DELETED: it takes no new jobs"
    if snapshot.paused:
        return "PAUSED"
    estimate = estimated_wait_ms(snapshot)
    return "a new task's wait is unknown" if estimate is None else f"a new task would wait {shown(estimate)}"


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


def workers_table(snapshot: QueueSnapshot) -> str:
    """Return the table of workers; `lost` after the end of the lease."""
    rows = [
        (
            worker.name,
            f"{worker.running}/{worker.slots}",
            "live" if snapshot.lives(worker) else "lost",
            worker.host,
            worker.note or (RESERVED if worker.name == snapshot.reserved else None),
        )
        for worker in snapshot.workers
    ]
    return table(("worker", "slots", "lease", "host", "note"), rows) if rows else "no workers"
