"""Comparison of the worker's jobs with the queue's records, at every renewal.

Redis may have gone back in time: a crash lost the tail of the log, a lagging replica took over, a backup was restored,
a key was evicted. The queue then holds jobs for a worker that does not run them, or the worker runs jobs that the queue
offers elsewhere. Calls in flight make single differences normal; a difference at two renewals is real.
`agentpool_worker.jobs.claim_loop` lets the queue resolve differences once no call is in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from agentpool_core.jobs import JobId
    from agentpool_core.queue.completions import Hold, Place


class Agreement:
    """Remembers the differences of the latest renewal."""

    def __init__(self) -> None:
        self._unknown: AbstractSet[Place] = frozenset()  # held for us by the queue only
        self._missing: AbstractSet[tuple[JobId, Hold]] = frozenset()  # held by us only

    def broken(self, before: Mapping[JobId, Hold], held: AbstractSet[Place], after: Mapping[JobId, Hold]) -> bool:
        """Compare a renewal's answer with the holdings before and after; return whether a difference persists.

        `held` are the entries that the queue holds for this worker.
        """
        ours = {hold.place for hold in (*before.values(), *after.values())}
        unknown = held - ours
        missing = {item for item in before.items() if item[1].place not in held and after.get(item[0]) == item[1]}
        broken = not self._unknown.isdisjoint(unknown) or not self._missing.isdisjoint(missing)
        self._unknown, self._missing = unknown, missing
        return broken
