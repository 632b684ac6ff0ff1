"""The slots of a worker, and the GPU memory for jobs: in use and free; changeable at run time.

Counts, not locks: the event loop is the only writer, and the claim loop reads the free room before every claim. When a
total shrinks below the use, running jobs keep their share, and no job is claimed until enough of them end.
`agentpool_worker.jobs.claim_loop` claims for the free room at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.queue.completions import Room
from agentpool_core.queue.settings import Route

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = Route(name="plain")  # a job takes one slot


class Slots:
    """A semaphore of variable size; `on_free` is called when a resize leaves more room than before."""

    __slots__ = ("_memory_mib", "_memory_used_mib", "_total", "_used", "jobs", "on_free", "packs")

    def __init__(self, total: int) -> None:
        self._total = _check_total(total)
        self._used = 0
        self._memory_mib = 0
        self._memory_used_mib = 0
        self.jobs = 0  # that run
        self.packs = False  # whether some jobs take more than a slot
        self.on_free: Callable[[], None] | None = None

    @property
    def total(self) -> int:
        """Slots, in use or free."""
        return self._total

    @property
    def used(self) -> int:
        """Slots that running jobs take."""
        return self._used

    @property
    def free(self) -> int:
        """Slots that may be claimed now; 0 after a shrink, until enough jobs have ended."""
        return max(0, self._total - self._used)

    @property
    def room(self) -> Room:
        """Free slots and GPU memory, where jobs take more than a slot."""
        return Room(
            slots=self.free,
            all_slots=self._total,
            memory_mib=max(0, self._memory_mib - self._memory_used_mib),
            all_memory_mib=self._memory_mib,
        )

    def take(self, cost: Route = PLAIN) -> None:
        """Take the slots and the memory of a job. The job was claimed for free room, so the call never waits."""
        self.jobs += 1
        self._used += cost.slots
        self._memory_used_mib += cost.gpu_memory_mib

    def release(self, cost: Route = PLAIN) -> None:
        """Release the slots and the memory of an ended job, at the cost at which the job took them."""
        if self.jobs == 0:
            message = "a slot was released that was not in use"
            raise RuntimeError(message)
        self.jobs -= 1
        self._used -= cost.slots
        self._memory_used_mib -= cost.gpu_memory_mib

    def resize(self, total: int) -> None:
        """Change the number of slots; running jobs keep their slots."""
        grown = _check_total(total) > self._total
        self._total = total
        if grown and self.on_free is not None:
            self.on_free()

    def divide_memory(self, memory_mib: int, *, packs: bool) -> None:
        """Change the GPU memory for jobs, in MiB, and whether jobs take more than a slot."""
        self._memory_mib, self.packs = memory_mib, packs


def _check_total(total: int) -> int:
    if total < 1:
        raise ValueError(f"slots: {total}: a worker needs at least one slot; pause the pool to stop claims")
    return total
