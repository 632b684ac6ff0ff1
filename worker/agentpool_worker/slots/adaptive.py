"""Number of slots of a worker, from measured goodput, GPU memory and overload signals.

`Controller.decide` is pure apart from its memory: guards first (overload, memory), then the search for goodput, within
the memory's headroom. The `AdaptiveSlots` service calls it once a period and applies the result.
`agentpool_worker.slots.semaphore` is resized, `agentpool_worker.telemetry.metrics` counts each change.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from agentpool_core.queue.settings import AdaptiveMode
from agentpool_worker.slots.headroom import GROW_BELOW, Headroom
from agentpool_worker.slots.observation import Change, Observation, Reason
from agentpool_worker.slots.recorder import Recorder
from agentpool_worker.slots.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_core.queue.settings import PoolSettings
    from agentpool_worker.slots.gpu import GpuReader, GpuReading
    from agentpool_worker.slots.semaphore import Slots
    from agentpool_worker.slots.server import ServerReader, ServerReading

log = logging.getLogger(__name__)

GROW_UTILISATION_BELOW = 0.70  # share of time; a low value shows idleness, a high value shows nothing
SHRINK_MEMORY_ABOVE = 0.95  # share of memory; above, the next allocation may fail
SHRINK_FACTOR = 0.7  # share of the slots left after a decrease
MILD_FACTOR = 0.9  # the most left after an overload; fewer, down to the above, by the share of slots in such attempts
CEILING_SECONDS = 60.0  # for which the slots stay below the number that was overloaded
GROW_CACHE_BELOW, SHRINK_CACHE_ABOVE = 0.9, 0.97  # share of the model server's KV cache
WAITING_SHARE = 0.05  # of the slots; more requests that wait inside the server show that slots are in vain
FRESH_SECONDS = 3.0  # after a decrease for overload without a further one
PERIOD_SECONDS = 2.0  # between decisions; NVML averages utilisation over up to a second


def starting_slots(settings: PoolSettings) -> int:
    """Return the initial number of slots: the concurrency, within the adaptive bounds if set."""
    if settings.adaptive_mode is AdaptiveMode.OFF:
        return settings.concurrency
    return min(max(settings.concurrency, settings.adaptive_min), settings.adaptive_max)


class Controller:
    """Decides the number of slots of one worker."""

    def __init__(self) -> None:
        self.search = Search()
        self._headroom = Headroom()
        self._ceiling = (0, -math.inf)  # the number of slots that was overloaded, and when
        self._has_waited = False  # requests waited inside the server at the last reading
        self._is_recovering = False  # the slots return to just below the ceiling

    def decide(self, seen: Observation, settings: PoolSettings) -> Change | None:
        """Return the change to make now, or None. The bounds are the settings' `adaptive_min` and `adaptive_max`."""
        if settings.adaptive_mode is AdaptiveMode.GPU:
            self._headroom.note(seen.at, seen.used, seen.gpus)
        change = self._shrink(seen, settings)
        if change is not None:
            self.search.settle(seen.at, change.slots)
        elif settings.adaptive_mode is AdaptiveMode.OVERLOAD:
            change = _recover(seen, settings.adaptive_max)
        else:
            change = self._grow(seen, settings)
        return None if change is None or change.slots == seen.slots else change

    def _shrink(self, seen: Observation, settings: PoolSettings) -> Change | None:
        if seen.used <= seen.slots and not self._is_fresh(seen):
            if seen.overloads:
                wasted = float(seen.slots) if seen.wasted is None else seen.wasted
                words = f"{seen.overloads} jobs reported an overload"
                return self._retreat(seen, settings, wasted, Reason.OVERLOADED, words)
            if settings.adaptive_mode is not AdaptiveMode.OVERLOAD and (found := self._server_load(seen)) is not None:
                wasted, words = found
                return self._retreat(seen, settings, wasted, Reason.SERVER, words)
        if settings.adaptive_mode is not AdaptiveMode.GPU or _has_own_cache(seen):
            return None
        for gpu in seen.gpus:
            if gpu.memory > SHRINK_MEMORY_ABOVE:
                detail = f"GPU {gpu.index} has {gpu.memory:.0%} of its memory in use"
                fewer = _fewer(seen, settings, SHRINK_FACTOR)
                return Change(slots=fewer, reason=Reason.GPU_MEMORY, detail=detail)
        return None

    def _server_load(self, seen: Observation) -> tuple[float, str] | None:
        """Return the slots that the model server has no use for, and why; None: the server has room."""
        if seen.server is None:
            return None
        waiting, cache = seen.server.waiting or 0.0, seen.server.cache or 0.0
        had_waited, self._has_waited = self._has_waited, waiting > WAITING_SHARE * seen.slots
        if self._has_waited and had_waited:  # a single reading may have met a burst of arrivals
            return waiting, f"{waiting:g} requests wait inside the model server"
        if cache > SHRINK_CACHE_ABOVE:
            return 0.0, f"the model server has {cache:.0%} of its KV cache in use"
        return None

    def _retreat(self, seen: Observation, settings: PoolSettings, wasted: float, reason: Reason, words: str) -> Change:
        """Give up the slots in vain, or those of the last step of a climb or trial."""
        self._ceiling = (seen.slots, seen.at)
        self._is_recovering = True
        fewer = _fewer(seen, settings, min(MILD_FACTOR, max(SHRINK_FACTOR, 1 - wasted / seen.slots)))
        proven = self.search.proven(seen.slots)
        slots = fewer if proven is None else max(min(proven, seen.slots), settings.adaptive_min)
        return Change(slots=slots, reason=reason, detail=words)

    def _is_fresh(self, seen: Observation) -> bool:
        """Whether the last decrease came just now, so that overloads may be those of before."""
        return seen.slots < self._ceiling[0] and seen.at - self._ceiling[1] < FRESH_SECONDS

    def _grow(self, seen: Observation, settings: PoolSettings) -> Change | None:
        most = self._most(seen, settings)
        if self._is_recovering and seen.slots < most < settings.adaptive_max:  # to just below the overload
            change = _recover(seen, most)
            self.search.settle(seen.at, seen.slots if change is None else change.slots)
            return change
        self._is_recovering = False
        return self._grow_blindly(seen, settings) or self._follow_goodput(seen, settings)

    def _follow_goodput(self, seen: Observation, settings: PoolSettings) -> Change | None:
        least, most = settings.adaptive_min, self._most(seen, settings)
        if settings.adaptive_mode is AdaptiveMode.GPU and not _has_own_cache(seen):
            allowed = self._headroom.allowed(seen.slots, seen.gpus)
            most = most if allowed is None else min(most, allowed)
        return self.search.decide(seen, least, max(most, least))

    def _most(self, seen: Observation, settings: PoolSettings) -> int:
        """Return the bound of growth: the settings', a full server, and for a while the number that was overloaded."""
        server = seen.server
        if server is not None and (bool(server.waiting) or (server.cache or 0.0) >= GROW_CACHE_BELOW):
            return max(settings.adaptive_min, min(settings.adaptive_max, seen.slots))
        slots, at = self._ceiling
        if seen.at - at < CEILING_SECONDS:
            return max(settings.adaptive_min, min(settings.adaptive_max, slots - 1))
        return settings.adaptive_max

    def _grow_blindly(self, seen: Observation, settings: PoolSettings) -> Change | None:
        """Grow by one while no job has ended: by an idle GPU, else back to the starting slots."""
        if not seen.is_full or not self.search.is_blind(seen):
            return None
        if not _has_own_cache(seen) and any(gpu.memory >= GROW_BELOW for gpu in seen.gpus):
            return None
        known = [gpu.utilisation for gpu in seen.gpus if gpu.utilisation is not None]
        if settings.adaptive_mode is AdaptiveMode.GPU and known and len(known) == len(seen.gpus):
            if max(known) >= GROW_UTILISATION_BELOW:
                return None
            slots = min(seen.slots + 1, self._most(seen, settings))
            detail = f"all slots in use, busiest GPU at {max(known):.0%}"
            return Change(slots=slots, reason=Reason.GPU_IDLE, detail=detail)
        return _recover(seen, min(starting_slots(settings), self._most(seen, settings)))


def _has_own_cache(seen: Observation) -> bool:
    """Whether a model server takes the GPU's memory once, at its start, and divides it among its requests."""
    return seen.server is not None and seen.server.cache is not None


def _recover(seen: Observation, most: int) -> Change | None:
    """Grow by one up to `most`: fewer slots than at the start must not last for ever."""
    if not seen.is_full or seen.slots >= most:
        return None
    detail = "all slots in use, nothing overloaded"
    return Change(slots=seen.slots + 1, reason=Reason.RECOVERED, detail=detail)


def _fewer(seen: Observation, settings: PoolSettings, factor: float) -> int:
    """Return the slots after a decrease."""
    slots = min(seen.slots - 1, math.floor(seen.slots * factor))
    return min(max(slots, settings.adaptive_min), seen.slots)


class AdaptiveSlots:
    """Applies the controller's decision once a period. Used from the event loop, except for `read`."""

    def __init__(
        self,
        *,
        slots: Slots,
        settings: Callable[[], PoolSettings],
        reader: GpuReader | None,
        changed: Callable[[Change], None],
        server: ServerReader | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._reader = reader
        self._changed = changed
        self._server = server
        self._clock = clock
        self._overloads = 0
        self._controller = Controller()
        self.recorder = Recorder(clock)
        self.recorder.is_on = _measures(settings())
        self.readings: Sequence[GpuReading] = ()  # the latest; empty where there is no GPU
        self.server_reading: ServerReading | None = None  # the latest; None: no server, or no answer

    def report_overload(self) -> None:
        """Record a job that ended with an overload signal."""
        self._overloads += 1

    def read(self) -> None:
        """Take a reading. May block for milliseconds, so called outside the jobs' event loop."""
        if self._reader is not None:
            self.readings = self._reader.read()

    async def read_server(self) -> None:
        """Read the model server's metrics, outside the jobs' event loop."""
        if self._server is not None and _measures(self._settings()):
            self.server_reading = await self._server.read()

    async def close(self) -> None:
        """Close the connection to the model server, in the loop that reads."""
        if self._server is not None:
            await self._server.close()

    def run_once(self) -> None:
        """Decide and apply, in the jobs' event loop."""
        settings = self._settings()
        overloads, self._overloads = self._overloads, 0
        if settings.adaptive_mode is AdaptiveMode.OFF:
            return
        change = self._controller.decide(self._observe(overloads), settings)
        if change is not None:
            self.apply(change)

    def _observe(self, overloads: int) -> Observation:
        recorded = self.recorder.take()._asdict() if self.recorder.is_on else {}
        return Observation(
            at=self._clock(),
            slots=self._slots.total,
            used=self._slots.used,
            overloads=overloads,
            gpus=self.readings,
            server=self.server_reading,
            **recorded,
        )

    def apply_settings(self) -> None:
        """Apply new settings: their concurrency, or the nearest bound in adaptive mode."""
        settings = self._settings()
        self.recorder.is_on = _measures(settings)
        slots = starting_slots(settings)
        if settings.adaptive_mode is not AdaptiveMode.OFF:
            slots = min(max(self._slots.total, settings.adaptive_min), settings.adaptive_max)
        if slots != self._slots.total:
            self._controller = Controller()
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


def _measures(settings: PoolSettings) -> bool:
    return settings.adaptive_mode in (AdaptiveMode.GPU, AdaptiveMode.GOODPUT)
