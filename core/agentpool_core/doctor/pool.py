"""Checks of a pool's queue: configured, served by workers, nothing stuck."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from agentpool_core.doctor.findings import Finding, failure, failure_of, fine, note, warning
from agentpool_core.durations import format_duration
from agentpool_core.errors import QueueError
from agentpool_core.queue.audit import Contradiction, Disagreement, audit
from agentpool_core.queue.inspector import Inspector
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

LONG_WAIT_MS = 600_000  # a ready job that waits longer deserves a look
NAMES_SHOWN = 5  # of each kind of contradiction
WORDS = {
    Contradiction.COUNTER: "a counter that differs from the streams",
    Contradiction.JOB_GONE: "an entry without a job",
    Contradiction.MISPLACED: "a job whose entry is held by the wrong consumer",
    Contradiction.ORDER_LOST: "a waiting job that is missing from its order",
    Contradiction.WORKER_GONE: "a running job whose worker is not registered",
    Contradiction.WORKER_LOST: "a lost worker whose jobs were not recovered",
    Contradiction.OVERDUE: "a job that exceeds its timeout",
    Contradiction.PARENT_GONE: "a job that waits for ended or missing parents",
    Contradiction.MEMBER_GONE: "a list entry without a job",
    Contradiction.UNREADABLE: "an unreadable record",
}


async def examine(redis: RedisClient, pool: PoolRef, *, repair: bool = False) -> AsyncIterator[Finding]:
    """Yield all findings about a pool. `repair` resolves the contradictions in its queue."""
    try:
        snapshot = await Inspector(redis).snapshot(pool)
    except QueueError as error:
        yield failure_of("pool", error)
        return
    yield fine("pool", f"{pool}: {snapshot.queued} queued, {snapshot.running} running")
    for check in (check_retired, check_paused, check_workers, check_waiting, check_quarantine, check_dead_letters):
        finding = check(snapshot)
        if finding is not None:
            yield finding
    try:
        found = await audit(redis, pool, repair=repair)
        left = await audit(redis, pool) if repair and found else found
    except QueueError as error:
        level = failure if repair else note  # a requested repair that was not done is a failure
        yield level("consistency", error.detail, "use the Redis user of the operator, or a user with all commands")
        return
    for finding in contradictions(pool, found, left):
        yield finding


def contradictions(pool: PoolRef, found: Sequence[Disagreement], left: Sequence[Disagreement]) -> list[Finding]:
    """Return the audit's findings by kind, and whether each is still present."""
    if not found:
        return [fine("consistency", "counters, entries and records agree")]
    by_kind: dict[Contradiction, list[str]] = {}
    for contradiction in found:
        by_kind.setdefault(contradiction.kind, []).append(contradiction.what)
    remaining = {contradiction.kind for contradiction in left}
    findings = []
    for kind, names in by_kind.items():
        some = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
        text = f"{len(names)} × {WORDS[kind]}: {some}"
        if kind in remaining:
            findings.append(warning("consistency", text, f"agentpool doctor --pool {pool} --repair"))
        else:
            findings.append(fine("consistency", f"{text}; repaired"))
    return findings


def check_retired(snapshot: QueueSnapshot) -> Finding | None:
    """Check for a queue that outlives its AgentPool."""
    if not snapshot.retired:
        return None
    return warning(
        "deleted",
        "the AgentPool is deleted; its queue is kept and accepts no new jobs",
        "apply the AgentPool again; to remove the queue, apply it with deletionPolicy: Delete and delete it",
    )


def check_paused(snapshot: QueueSnapshot) -> Finding | None:
    """Check for a paused pool, which starts no jobs."""
    if snapshot.paused:
        return note("paused", "no job starts", "set spec.paused to false")
    return None


def check_workers(snapshot: QueueSnapshot) -> Finding:
    """Check for live workers, lost workers, and jobs without workers."""
    lost = [worker.name for worker in snapshot.workers if not snapshot.lives(worker)]
    live = len(snapshot.workers) - len(lost)
    if lost:
        return warning(
            "workers",
            f"{live} live, {len(lost)} lost: {', '.join(lost[:3])}",
            "read the logs of the lost workers; their jobs run again",
        )
    if snapshot.queued and not live and not snapshot.paused:
        return failure(
            "workers",
            f"none; waiting: {format_count(snapshot.queued, 'job')}",
            "run `kubectl describe agentpool`: the conditions show the cause",
        )
    return fine("workers", f"{live} live")


def check_waiting(snapshot: QueueSnapshot) -> Finding | None:
    """Check for a ready job that has waited very long."""
    if snapshot.oldest_wait_ms is None or snapshot.oldest_wait_ms < LONG_WAIT_MS:
        return None
    return warning(
        "oldest wait",
        format_duration(snapshot.oldest_wait_ms),
        "raise scaling.maxReplicas, worker.concurrency or route limits",
    )


def check_quarantine(snapshot: QueueSnapshot) -> Finding | None:
    """Check for jobs that may end their workers."""
    if not snapshot.quarantined:
        return None
    return warning(
        "quarantine",
        f"{format_count(snapshot.quarantined, 'job')} must run alone, because two workers ended under each",
        "run `agentpool get JOB` to see how the workers ended; a job whose worker ends again becomes a dead letter",
    )


def check_dead_letters(snapshot: QueueSnapshot) -> Finding:
    """Check for dead letters, which wait for a decision."""
    if snapshot.dead:
        return note("dead letters", str(snapshot.dead), "see `agentpool get jobs --state failed`, then replay or purge")
    return fine("dead letters", "none")
