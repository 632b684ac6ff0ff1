"""The workers of a pool in detail: kinds, cordon, and the latest failure of a job on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_core.jobs import FAILURES
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import JobEvent, PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot, WorkerSnapshot

ANY_KIND = "*"
EVENTS_READ = 200  # entries of the event stream, in which failures are looked for


class UnknownWorkerError(QueueError):
    """The pool has no worker of that name: the name is wrong, or the worker has ended."""

    def __init__(self, pool: str, name: str) -> None:
        self.pool, self.name = pool, name
        super().__init__(
            f"worker {name!r} is not registered in pool {pool!r}", remedy="list the workers for their names"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerDetail:
    """A registered worker."""

    worker: WorkerSnapshot
    kinds: tuple[str, ...] | None  # that it runs; None: any kind
    live: bool  # the lease has not expired
    cordoned: bool  # finishes its jobs and is removed then
    reserved: bool  # runs the jobs in quarantine, one after the other
    last_failure: JobEvent | None  # among the newest events; None: none


async def read_workers(redis: RedisClient, pool: PoolRef) -> tuple[QueueSnapshot, tuple[WorkerDetail, ...]]:
    """Return the queue and its workers. Raises UnknownPoolError, or a different QueueError if unreadable."""
    inspector = Inspector(redis)
    snapshot = await inspector.snapshot(pool)
    failures = _latest_failures(await inspector.newest_events(pool, limit=EVENTS_READ))
    reply = await ask(redis, "HGETALL", Keys(pool).worker_kinds)
    with Reading("hgetall"):
        kinds = fields_of(reply)
    details = tuple(
        WorkerDetail(
            worker=worker,
            kinds=_kinds_of(kinds.get(worker.name, ANY_KIND)),
            live=snapshot.lives(worker),
            cordoned=worker.name in snapshot.cordoned,
            reserved=worker.name == snapshot.reserved,
            last_failure=failures.get(worker.name),
        )
        for worker in snapshot.workers
    )
    return snapshot, details


async def read_worker(redis: RedisClient, pool: PoolRef, name: str) -> tuple[QueueSnapshot, WorkerDetail]:
    """Return the queue and a worker. Raises UnknownWorkerError, and the errors of `read_workers`."""
    snapshot, details = await read_workers(redis, pool)
    for detail in details:
        if detail.worker.name == name:
            return snapshot, detail
    raise UnknownWorkerError(str(pool), name)


def _latest_failures(newest_first: Sequence[JobEvent]) -> dict[str, JobEvent]:
    """Return the newest failure of each worker."""
    failures = (event for event in reversed(newest_first) if event.worker and event.type in FAILURES)
    return {str(event.worker): event for event in failures}


def _kinds_of(text: str) -> tuple[str, ...] | None:
    return None if text == ANY_KIND else tuple(sorted(text.split()))
