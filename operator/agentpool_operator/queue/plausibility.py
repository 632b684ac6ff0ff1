"""Plausibility of a queue's reading. Pure.

A pool may name any server, and a user of that server may have written anything. Impossible figures would lead to wrong
decisions, a status that the API server refuses, or metrics that Prometheus cannot read, for all pools at once.
`reader` checks each reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_core.queue.snapshots import QueueSnapshot

LARGEST = 2**53  # largest exact integer of JSON, Lua and Prometheus
MOST_ROUTES = 64  # of a pool; its spec has 16, and routes of an earlier spec may still hold jobs
MOST_WORKERS = 20_000  # of a pool: twice the limit of the spec
LONGEST_NAME = 253  # characters


def check(snapshot: QueueSnapshot) -> None:
    """Raise QueueError for an impossible reading; the message contains nothing from the server."""
    if len(snapshot.routes) > MOST_ROUTES or len(snapshot.workers) > MOST_WORKERS:
        raise QueueError(
            f"the queue has more than {MOST_ROUTES} routes or {MOST_WORKERS} workers, which cannot be true"
        )
    for figure in _figures(snapshot):
        if isinstance(figure, bool) or not isinstance(figure, int) or abs(figure) > LARGEST:
            raise QueueError("a figure of the queue is not a whole number of a possible size")
    names: list[object] = [snapshot.settings_revision, *(route.name for route in snapshot.routes)]
    names += [text for worker in snapshot.workers for text in (worker.name, worker.host)]
    if any(not isinstance(name, str) or len(name) > LONGEST_NAME for name in names):
        raise QueueError("a name in the queue is not a text of a possible length")


def _figures(snapshot: QueueSnapshot) -> Iterator[object]:
    yield from (
        snapshot.taken_at_ms,
        snapshot.scheduled,
        snapshot.blocked,
        snapshot.dead,
        snapshot.waiting,
        snapshot.oldest_wait_ms or 0,
        snapshot.submitted_total,
        snapshot.started_total,
        snapshot.finished_total,
        snapshot.run_ms_total,
        snapshot.attempts_total,
    )
    for route in snapshot.routes:
        yield from (route.limit or 0, route.running, *route.queued.values())
    for worker in snapshot.workers:
        yield from (worker.slots, worker.running, worker.lease_expires_at_ms)
