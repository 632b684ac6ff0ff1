"""Measurements of a demo, and the content of its screen. Plain values; `session` fills them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_local.stack.cluster import PoolState


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A snapshot of the running demo."""

    seconds: float  # since the jobs were submitted
    queue: QueueSnapshot
    pool: PoolState
    devices: int  # GPUs on all nodes
    submitted: int  # jobs of this demo
    succeeded: int
    failed: int  # ended without a result
    dispatch_p50_ms: float | None  # None: nothing has been claimed yet
    dispatch_p99_ms: float | None

    @property
    def ended(self) -> int:
        """Return the number of ended jobs of this demo."""
        return self.succeeded + self.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoFigures:
    """Content of `--json`: every figure is measured."""

    submitted: int  # jobs
    succeeded: int  # jobs that ended with a result
    failed: int  # jobs that ended without a result
    duplicates: int  # handler runs that no claim explains, and successes beyond a job's first
    peak_replicas: int  # most workers that were ready at once
    final_replicas: int  # workers that existed when the demo ended
    dispatch_p50_ms: float | None  # from being able to run to running; None: nothing ran
    dispatch_p99_ms: float | None
    seconds: float  # from the start of the demo to the last worker's end

    def as_json(self) -> dict[str, float | int | None]:
        """Return the figures under their names."""
        return asdict(self)

    @property
    def good(self) -> bool:
        """Whether every job succeeded, once."""
        return self.submitted == self.succeeded and self.failed == 0 and self.duplicates == 0
