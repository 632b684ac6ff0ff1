"""Number of slots of a worker, from GPU readings and overload signals: slow up, fast down.

Additive increase, multiplicative decrease, as in congestion control: add a slot while the GPUs are idle and all slots
are in use, remove a share when memory runs out or the handler is overloaded. `decide` is pure; the `AdaptiveSlots`
service calls it once a period and applies the result. `agentpool_worker.slots.semaphore` is resized,
`agentpool_worker.telemetry.metrics` counts each change.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agentpool_core.queue.settings import AdaptiveMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_core.queue.settings import PoolSettings
    from agentpool_worker.slots.gpu import GpuReader, GpuReading
    from agentpool_worker.slots.semaphore import Slots

log = logging.getLogger(__name__)

GROW_UTILISATION_BELOW = 0.70  # share of time; a GPU above this share is busy enough
GROW_MEMORY_BELOW = 0.85  # share of memory; above, a further job may not fit
SHRINK_MEMORY_ABOVE = 0.95  # share of memory; above, the next allocation may fail
SHRINK_FACTOR = 0.7  # share of the slots left after a decrease
PERIOD_SECONDS = 2.0  # between decisions; NVML averages utilisation over up to a second


class Reason(StrEnum):
    """Reason of a change of the slots: a metric's label, so the values are few and fixed."""

    GPU_IDLE = "gpu_idle"  # utilisation and memory leave room, and every slot is in use
    GPU_MEMORY = "gpu_memory"  # memory is nearly full
    OVERLOADED = "overloaded"  # the handler raised Overloaded
    RECOVERED = "recovered"  # nothing overloaded, and every slot is in use: slots that were given up come back
    SETTINGS = "settings"  # the AgentPool changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Inputs of a decision."""

    slots: int  # now
    used: int  # slots in use now
    overloads: int  # the handler's overload signals since the last decision
    gpus: Sequence[GpuReading]  # empty: no GPU, or none could be read


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A new number of slots, and why."""

    slots: int
    reason: Reason
    detail: str  # for the log line


def decide(seen: Observation, settings: PoolSettings) -> Change | None:
    """Return the change to make now, or None. The bounds are the settings' `adaptive_min` and `adaptive_max`."""
    change = _shrink(seen, settings) or _grow(seen, settings)
    if change is None:
        return None
    slots = min(max(change.slots, settings.adaptive_min), settings.adaptive_max)
    return None if slots == seen.slots else Change(slots=slots, reason=change.reason, detail=change.detail)


def starting_slots(settings: PoolSettings) -> int:
    """Return the initial number of slots: the concurrency, within the adaptive bounds if set."""
    if settings.adaptive_mode is AdaptiveMode.OFF:
        return settings.concurrency
    return min(max(settings.concurrency, settings.adaptive_min), settings.adaptive_max)


def _shrink(seen: Observation, settings: PoolSettings) -> Change | None:
    fewer = min(seen.slots - 1, math.floor(seen.slots * SHRINK_FACTOR))
    if seen.overloads:
        return Change(slots=fewer, reason=Reason.OVERLOADED, detail=f"{seen.overloads} jobs reported an overload")
    if settings.adaptive_mode is not AdaptiveMode.GPU:
        return None
    for gpu in seen.gpus:
        if gpu.memory > SHRINK_MEMORY_ABOVE:
            detail = f"GPU {gpu.index} has {gpu.memory:.0%} of its memory in use"
            return Change(slots=fewer, reason=Reason.GPU_MEMORY, detail=detail)
    return None


def _grow(seen: Observation, settings: PoolSettings) -> Change | None:
    if seen.used < seen.slots:  # unused slots give no information about more slots
        return None
    if settings.adaptive_mode is AdaptiveMode.OVERLOAD:
        return Change(slots=seen.slots + 1, reason=Reason.RECOVERED, detail="all slots in use, nothing overloaded")
    if any(gpu.memory >= GROW_MEMORY_BELOW for gpu in seen.gpus):
        return None
    known = [gpu.utilisation for gpu in seen.gpus if gpu.utilisation is not None]
    if not known or len(known) < len(seen.gpus):
        return _grow_back(seen, settings)
    if max(known) < GROW_UTILISATION_BELOW:
        detail = f"all slots in use, busiest GPU at {max(known):.0%}"
        return Change(slots=seen.slots + 1, reason=Reason.GPU_IDLE, detail=detail)
    return None


def _grow_back(seen: Observation, settings: PoolSettings) -> Change | None:
    """Grow back to the starting slots without GPU readings: unread GPUs must not keep a worker small for ever."""
    if seen.slots >= starting_slots(settings):
        return None
    return Change(slots=seen.slots + 1, reason=Reason.RECOVERED, detail="all slots in use, nothing overloaded")


class AdaptiveSlots:
    """Applies `decide` once a period. `overloaded` may be called at any time in the event loop."""

    def __init__(
        self,
        *,
        slots: Slots,
        settings: Callable[[], PoolSettings],
        reader: GpuReader | None,
        changed: Callable[[Change], None],
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._reader = reader
        self._changed = changed
        self._overloads = 0
        self.readings: Sequence[GpuReading] = ()  # the latest; empty where there is no GPU

    def report_overload(self) -> None:
        """Record a job that ended with an overload signal."""
        self._overloads += 1

    def read(self) -> None:
        """Take a reading. May block for milliseconds, so called outside the jobs' event loop."""
        if self._reader is not None:
            self.readings = self._reader.read()

    def run_once(self) -> None:
        """Decide and apply, in the jobs' event loop."""
        settings = self._settings()
        overloads, self._overloads = self._overloads, 0
        if settings.adaptive_mode is AdaptiveMode.OFF:
            return
        seen = Observation(slots=self._slots.total, used=self._slots.used, overloads=overloads, gpus=self.readings)
        change = decide(seen, settings)
        if change is not None:
            self.apply(change)

    def apply_settings(self) -> None:
        """Apply new settings: their concurrency, or the nearest bound in adaptive mode."""
        settings = self._settings()
        slots = starting_slots(settings)
        if settings.adaptive_mode is not AdaptiveMode.OFF:
            slots = min(max(self._slots.total, settings.adaptive_min), settings.adaptive_max)
        if slots != self._slots.total:
            self.apply(Change(slots=slots, reason=Reason.SETTINGS, detail="the AgentPool's settings changed"))

    def apply(self, change: Change) -> None:
        """Resize the slots and log the reason."""
        before = self._slots.total
        self._slots.resize(change.slots)
        log.info(
            "slots %d -> %d: %s", before, change.slots, change.detail,
            extra={"slots_before": before, "slots_after": change.slots, "reason": change.reason.value},
        )  # fmt: skip
        self._changed(change)
