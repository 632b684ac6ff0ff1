"""`agentpool queue`: a pool's queue at a moment: depth by route and priority, slots, the oldest wait, the workers."""

from __future__ import annotations

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, Output, emit, output_option
from agentpool_core.cli.queue_tables import headline, limits_table, routes_table, workers_table
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import queue_document
from agentpool_core.queue.snapshots import QueueSnapshot

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
def queue(*, target: Target, workers: bool, output: Output) -> None:
    """Show waiting and running jobs of a pool, and its workers."""
    snapshot = run(_read(target))
    parts = [headline(snapshot), routes_table(snapshot)]
    if snapshot.limits:
        parts.append(limits_table(snapshot))
    if workers:
        parts.append(workers_table(snapshot))
    emit(
        output,
        queue_document(snapshot, target.pool),
        names=[route.name for route in snapshot.routes],
        text="\n\n".join(parts),
    )


async def _read(target: Target) -> QueueSnapshot:
    from agentpool_core.queue.history import PoolHistory

    async with open_redis(target) as redis:
        return await PoolHistory(redis, target.pool).snapshot()
