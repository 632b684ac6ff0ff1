"""Jobs that a worker has claimed and not ended, as the worker itself knows them.

The queue has its own record of them; after a lost answer or a rollback of Redis the two differ. `consumer` lets the
queue resolve the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.queue.completions import Hold, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agentpool_core.jobs import JobId, Lease, LeaseToken
    from agentpool_core.queue.completions import Completion


class Holdings:
    """The holds of one worker, by job."""

    def __init__(self) -> None:
        self._held: dict[JobId, Hold] = {}

    def keep(self, leases: Iterable[Lease]) -> tuple[tuple[JobId, LeaseToken], ...]:
        """Add claimed jobs; return earlier holds of the same jobs, which have lost their lease."""
        held = self._held
        again = []
        for lease in leases:
            job_id = lease.job_id
            if job_id in held:
                again.append((job_id, held[job_id].token))
            held[job_id] = Hold(lease.token, Place(f"{lease.route}:{lease.priority.value}", lease.entry))
        return tuple(again)

    def let_go(self, completions: Sequence[Completion]) -> None:
        """Remove ended attempts; a later attempt of the same job stays."""
        held = self._held
        for completion in completions:
            hold = held.get(completion.job_id)
            if hold is not None and hold.token == completion.token:
                del held[completion.job_id]

    def drop(self, disowned: Iterable[tuple[JobId, LeaseToken]]) -> None:
        """Remove jobs that the queue does not lease to this worker."""
        for job_id, _ in disowned:
            self._held.pop(job_id, None)

    def clear(self) -> None:
        """Forget all jobs."""
        self._held.clear()

    def copy(self) -> Mapping[JobId, Hold]:
        """Return the holds as they are now. May be called from a different thread."""
        return self._held.copy()

    def pairs(self) -> Iterator[str | int]:
        """Yield job id and token of each job, as arguments of a script."""
        for job_id, hold in self._held.items():
            yield from (job_id, hold.token)
