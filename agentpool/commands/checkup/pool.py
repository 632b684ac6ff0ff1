"""One pool's queue: is it set up, does anybody work on it, is anything stuck."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agentpool.commands.checkup.findings import Finding, failure, fine, note, warning
from agentpool.commands.output import counted
from agentpool.durations import shown
from agentpool.errors import QueueError
from agentpool.queue.inspect import Inspector

if TYPE_CHECKING:
    from agentpool.jobs import PoolRef
    from agentpool.queue.connection import RedisClient
    from agentpool.queue.snapshots import QueueSnapshot

LONG_WAIT_MS = 600_000  # a ready job that waits longer deserves a look


async def examine(redis: RedisClient, pool: PoolRef) -> AsyncIterator[Finding]:
    """All findings about a pool."""
    try:
        snapshot = await Inspector(redis).snapshot(pool)
    except QueueError as error:
        yield failure("pool", str(pool), str(error))
        return
    yield fine("pool", f"{pool}: {snapshot.queued} queued, {snapshot.running} running")
    for finding in (paused(snapshot), workers(snapshot), waiting(snapshot), quarantine(snapshot), dead(snapshot)):
        if finding is not None:
            yield finding


def paused(snapshot: QueueSnapshot) -> Finding | None:
    """A paused pool starts nothing."""
    if snapshot.paused:
        return note("paused", "nothing new is started", "set spec.paused to false")
    return None


def workers(snapshot: QueueSnapshot) -> Finding:
    """Live workers, and work without them."""
    lost = [worker.name for worker in snapshot.workers if not snapshot.lives(worker)]
    live = len(snapshot.workers) - len(lost)
    if lost:
        return warning(
            "workers", f"{live} live, {len(lost)} lost: {', '.join(lost[:3])}", "their jobs run again; see their logs"
        )
    if snapshot.queued and not live and not snapshot.paused:
        return failure(
            "workers",
            f"none, and {snapshot.queued} jobs wait",
            "see `kubectl describe ap`: the conditions say what holds the workers back",
        )
    return fine("workers", f"{live} live")


def waiting(snapshot: QueueSnapshot) -> Finding | None:
    """A ready job that waits for very long."""
    if snapshot.oldest_wait_ms is None or snapshot.oldest_wait_ms < LONG_WAIT_MS:
        return None
    return warning(
        "oldest wait", shown(snapshot.oldest_wait_ms), "raise scaling.maxReplicas, worker.concurrency or route limits"
    )


def quarantine(snapshot: QueueSnapshot) -> Finding | None:
    """Jobs that may end their workers."""
    if not snapshot.quarantined:
        return None
    return warning(
        "quarantine",
        f"{counted(snapshot.quarantined, 'job')} to run alone: workers ended twice while they ran",
        "see `agentpool get JOB` for how the workers ended; a job that ends its worker again becomes a dead letter",
    )


def dead(snapshot: QueueSnapshot) -> Finding:
    """Dead letters wait for a decision."""
    if snapshot.dead:
        return note("dead letters", str(snapshot.dead), "see `agentpool dead list`, then replay or purge them")
    return fine("dead letters", "none")
