"""Rates: a token bucket for each caller or client, refilled by the clock. Pure except for the given clock."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from agentpool_gateway.access.authority import Caller
from agentpool_gateway.addresses import address_of
from agentpool_gateway.http.problems import ProblemError

MOST_CALLERS = 10_000  # remembered; the longest silent caller is dropped first, with a full bucket
IPV6_PREFIX = 64  # bits usually assigned to a client, which may choose the rest


class Buckets:
    """At most `burst` at once, and `per_s` a second after that, for each key."""

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and time of that value

    def take(self, key: str) -> int:
        """Take a token; return 0, or the whole seconds until the next token."""
        left = self._left(key)
        if left < 1:
            return math.ceil((1 - left) / self._per_s)
        self._set(key, left - 1)
        return 0

    def refund(self, key: str) -> None:
        """Undo a `take`."""
        self._set(key, min(self._burst, self._left(key) + 1))

    def _left(self, key: str) -> float:
        now = self._clock()
        left, since = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + (now - since) * self._per_s)

    def _set(self, key: str, left: float) -> None:
        self._buckets[key] = (left, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)


class RateLimit:
    """The rate of each caller's requests."""

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._buckets = Buckets(per_s=per_s, burst=burst, clock=clock)

    def check(self, caller: Caller) -> None:
        """Count a request. Raises ProblemError (429) with the wait until the next allowed request."""
        if self._per_s <= 0:
            return
        if wait_s := self._buckets.take(caller.key):
            raise _too_many(
                "rate-limited",
                f"{caller.name} sends more than {self._per_s:g} requests a second",
                wait_s=wait_s,
                remedy=f"wait {wait_s} s, or send jobs in bulk",
            )


class ReviewLimit:
    """Rate of each client's tokens that the API server refuses: a review is expensive for the API server."""

    def __init__(self, *, per_s: float = 2.0, burst: int = 200, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(per_s=per_s, burst=burst, clock=clock)

    def take(self, client: str) -> None:
        """Count a token before its review; 429 for a client with too many refusals."""
        if wait_s := self._buckets.take(_network(client)):
            raise _too_many(
                "too-many-unknown-tokens",
                "too many unknown tokens from this address",
                wait_s=wait_s,
                remedy=f"wait {wait_s} s, and send a token that the API server accepts",
            )

    def refund(self, client: str) -> None:
        """Undo a `take`: the token was good, or the API server did not answer."""
        self._buckets.refund(_network(client))


def _network(client: str) -> str:
    """Return the network by which a client's address is counted."""
    address = address_of(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address or client)


def _too_many(name: str, detail: str, *, wait_s: int, remedy: str) -> ProblemError:
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, name, detail, remedy=remedy, headers={"Retry-After": str(wait_s)})
