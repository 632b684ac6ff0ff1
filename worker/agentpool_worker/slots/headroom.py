"""Slots for which the GPU's memory has room, from the memory that further jobs were seen to take.

The memory of a job is the slope between readings at different numbers of running jobs; before two such readings a
worker grows by one slot at a time. `agentpool_worker.slots.adaptive` limits growth by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.slots.gpu import GpuReading

GROW_BELOW = 0.85  # share of memory; above, a further job may not fit
FILL_TO = 0.92  # share of memory that growth by several slots may reach by the estimate
SAFETY = 1.25  # jobs may need more than those that were seen
MEMORY_SECONDS = 120.0  # for which a reading is used


class Headroom:
    """Estimates the memory of a job. One for each worker."""

    def __init__(self) -> None:
        self._peaks: dict[int, dict[int, tuple[float, float]]] = {}  # GPU -> running jobs -> (share, time)

    def note(self, at: float, used: int, gpus: Sequence[GpuReading]) -> None:
        """Record readings taken while `used` jobs ran."""
        for gpu in gpus:
            peaks = self._peaks.setdefault(gpu.index, {})
            recent = {jobs: peak for jobs, peak in peaks.items() if at - peak[1] <= MEMORY_SECONDS}
            recent[used] = (max(gpu.memory, recent.get(used, (0.0, at))[0]), at)
            self._peaks[gpu.index] = recent

    def allowed(self, slots: int, gpus: Sequence[GpuReading]) -> int | None:
        """Return the highest number of slots that should fit; None: no GPU limits them."""
        return min((slots + self._further(gpu) for gpu in gpus), default=None)

    def _further(self, gpu: GpuReading) -> int:
        if gpu.memory >= GROW_BELOW:
            return 0
        slope = self._slope(gpu.index)
        return 1 if slope is None else max(0, int((FILL_TO - gpu.memory) / max(slope, 1e-6)))

    def _slope(self, index: int) -> float | None:
        peaks = self._peaks.get(index, {})
        if len(peaks) < 2:  # noqa: PLR2004 - two readings make a slope
            return None
        low, high = min(peaks), max(peaks)
        return max(0.0, SAFETY * (peaks[high][0] - peaks[low][0]) / (high - low))
