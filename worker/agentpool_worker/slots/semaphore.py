"""The slots of a worker: the number of concurrent jobs, changeable at run time.

A count, not a lock: the event loop is the only writer, and the claim loop asks for `free` before every claim. When the
number shrinks below the used slots, running jobs keep their slots and no slot is taken until enough jobs end.
`agentpool_worker.jobs.claim_loop` claims at most `free` jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Slots:
    """A semaphore of variable size; `on_free` is called when a resize leaves more room than before."""

    __slots__ = ("_total", "_used", "on_free")

    def __init__(self, total: int) -> None:
        self._total = _check_total(total)
        self._used = 0
        self.on_free: Callable[[], None] | None = None

    @property
    def total(self) -> int:
        """How many jobs may run at once."""
        return self._total

    @property
    def used(self) -> int:
        """How many jobs run."""
        return self._used

    @property
    def free(self) -> int:
        """How many jobs may be claimed now; 0 while a shrink is being worked off."""
        return max(0, self._total - self._used)

    def take(self) -> None:
        """Take a slot for a job. The job was claimed for a free slot, so this never waits."""
        self._used += 1

    def release(self) -> None:
        """Release the slot of an ended job."""
        if self._used == 0:
            message = "a slot was released that was not in use"
            raise RuntimeError(message)
        self._used -= 1

    def resize(self, total: int) -> None:
        """Change the number of slots; running jobs keep their slots."""
        grown = _check_total(total) > self._total
        self._total = total
        if grown and self.on_free is not None:
            self.on_free()


def _check_total(total: int) -> int:
    if total < 1:
        raise ValueError(f"slots: {total}: a worker needs at least one slot; pause the pool to stop claims")
    return total
