"""Alternatives for a user: KEDA with HPA v2, Knative's KPA, a fixed count.

Written from the published algorithms, with their defaults: the HPA's
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/), KEDA's redis-streams scaler
(https://keda.sh/docs/latest/scalers/redis-streams-lag/) and Knative's autoscaler
(https://github.com/knative/serving/blob/main/docs/scaling/SYSTEM.md).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.autoscale.simulator import State

HPA_SYNC_SECONDS = 15.0  # --horizontal-pod-autoscaler-sync-period
HPA_TOLERANCE = 0.1
PANIC_AT = 2.0  # times the ready workers
GONE_AFTER_SECONDS = 90.0  # the stable window, and the scale-to-zero grace period of 30 s
HPA_DOWN_WINDOW_SECONDS = 300.0
KEDA_POLL_SECONDS = 30.0  # pollingInterval
KEDA_COOLDOWN_SECONDS = 300.0  # cooldownPeriod


def lag(state: State) -> float:
    """Return the entries given to no worker yet: KEDA's lagCount."""
    return len(state.waiting)


def lag_and_pending(state: State) -> float:
    """Return the entries not given, plus the entries not acknowledged."""
    return len(state.waiting) + state.running


@dataclass(slots=True)
class Keda:
    """KEDA's activation from and to zero, and the HPA in between."""

    name: str
    metric: Callable[[State], float]
    target: float  # of the metric, for each worker
    cooldown_s: float = KEDA_COOLDOWN_SECONDS
    down_window_s: float = HPA_DOWN_WINDOW_SECONDS
    period_s: float = HPA_SYNC_SECONDS
    woken: bool = False
    keep: None = None
    _active_at: float = -math.inf
    _polled_at: float = -math.inf
    _recommended: deque[tuple[float, int]] = field(default_factory=deque)
    _ups: deque[tuple[float, int]] = field(default_factory=deque)
    _downs: deque[tuple[float, int]] = field(default_factory=deque)

    def size(self, state: State) -> int:
        """Decide: KEDA between zero and non-zero at each poll, the HPA about the rest at each sync."""
        current = len(state.workers)
        value = self.metric(state)
        if state.now - self._polled_at >= KEDA_POLL_SECONDS:
            self._polled_at = state.now
            if value > 0:
                self._active_at = state.now
                current = max(current, 1)
            elif state.now - self._active_at >= self.cooldown_s:
                return 0
        if current == 0:
            return 0
        return self._hpa(state, current, value)

    def _hpa(self, state: State, current: int, value: float) -> int:
        ready = max(1, len(state.ready()))
        desired = (
            current if abs(value / (self.target * ready) - 1.0) <= HPA_TOLERANCE else math.ceil(value / self.target)
        )
        desired = max(1, min(desired, state.setup.max_workers))
        self._recommended.append((state.now, desired))
        while self._recommended[0][0] <= state.now - self.down_window_s:
            self._recommended.popleft()
        stable = max(size for _, size in self._recommended)
        desired = desired if desired > current else min(current, stable)
        return self._limited(state.now, current, desired)

    def _limited(self, now: float, current: int, desired: int) -> int:
        """Apply the default policies: up by 4 pods or 100 per cent in 15 s, down by 100 per cent."""
        added = sum(change for at, change in self._ups if at > now - HPA_SYNC_SECONDS)
        start = current - added
        desired = min(desired, max(current, start + 4, start * 2))
        if desired > current:
            self._ups.append((now, desired - current))
        return desired


@dataclass(slots=True)
class Knative:
    """Knative's pod autoscaler on concurrency, with the defaults: stable 60 s, panic 6 s at 200 per cent."""

    name: str
    target: float  # concurrency of a worker: slots times the default utilisation of 70 per cent
    period_s: float = 2.0
    woken: bool = False
    keep: None = None
    _samples: deque[tuple[float, float]] = field(default_factory=deque)
    _panic_until: float = -math.inf
    _panic_most: int = 0
    _busy_at: float = -math.inf

    def size(self, state: State) -> int:
        """Return the larger of both windows in panic, otherwise the stable window; zero after window and grace."""
        now, current = state.now, len(state.workers)
        value = len(state.waiting) + state.running
        self._samples.append((now, value))
        while self._samples[0][0] <= now - 60.0:
            self._samples.popleft()
        if value > 0:
            self._busy_at = now
        ready = max(1, len(state.ready()))
        stable = self._wanted(now, 60.0, ready)
        panic = self._wanted(now, 6.0, ready)
        if panic / ready >= PANIC_AT:
            self._panic_until = now + 60.0
        if now < self._panic_until:
            self._panic_most = max(self._panic_most, panic, current)
            return self._panic_most
        self._panic_most = 0
        if stable == 0 and now - self._busy_at < GONE_AFTER_SECONDS:
            return min(current, 1)
        return stable

    def _wanted(self, now: float, window_s: float, ready: int) -> int:
        values = [value for at, value in self._samples if at > now - window_s]
        raw = math.ceil(sum(values) / len(values) / self.target)
        return min(max(raw, ready // 2 if raw else 0), ready * 1000)


@dataclass(slots=True)
class Fixed:
    """A constant count; all workers are ready from the beginning."""

    count: int
    period_s: float = 1e9
    woken: bool = False
    keep: None = None

    @property
    def name(self) -> str:
        """Return the name in the table."""
        return f"fixed {self.count}"

    def size(self, state: State) -> int:
        """Return the same number always."""
        del state
        return self.count
