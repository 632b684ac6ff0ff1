"""A caller's rate: a token bucket each, refilled by the clock. Pure but for the clock that it is given."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from agentpool_gateway.access.authority import Caller
from agentpool_gateway.problems import ProblemError

MOST_CALLERS = 10_000  # remembered; the longest silent one is forgotten first, with a full bucket


class RateLimit:
    """At most `burst` requests at once, and `per_s` a second after that, for each caller."""

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, as of when

    def check(self, caller: Caller) -> None:
        """Takes one token; 429 with the time until there is one again where there is none."""
        if self._per_s <= 0:
            return
        now = self._clock()
        left, since = self._buckets.get(caller.key, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_s)
        if left < 1:
            wait_s = math.ceil((1 - left) / self._per_s)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate-limited",
                f"{caller.name} sends more than {self._per_s:g} requests a second",
                remedy=f"wait {wait_s} s, or send jobs in bulk",
                headers={"Retry-After": str(wait_s)},
            )
        self._buckets[caller.key] = (left - 1, now)
        self._buckets.move_to_end(caller.key)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
