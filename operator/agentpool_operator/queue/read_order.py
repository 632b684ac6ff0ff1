"""Order of queue reads: due pools, with pools under pressure first.

Pools of a Redis are read together in a single round trip, but in bounded groups: a pool under pressure then waits for a
short read of some pools, not for a read of a thousand. A Redis is read again only after its answer, and a pool is
chosen again only after it was served. So a hanging server, or a slow write, delays only its own pools. `loop`
does the work.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import PoolRef
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools

Place = Hashable  # common property of pools that are read together: equal for pools of a Redis
AT_ONCE = 50  # pools that are read together: some 20 ms of work
DEFAULT_POLL_S = 1.0  # seconds between reads of a pool with an unreadable spec
LEAVING_POLL_S = 2.0  # seconds between looks at workers that finish their jobs before they go
LONGEST_WAIT_S = 1.0  # seconds: new pools become due without a wake-up
PRESSED_AHEAD_S = 2.0  # seconds: a pool overdue by more precedes pools under pressure, however many


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Pools that are looked at together."""

    place: Place
    pools: tuple[Pool, ...]


class Schedule:
    """The order of looks."""

    def __init__(self, pools: Pools, *, gap_s: float) -> None:
        self._pools = pools
        self._gap_s = gap_s  # seconds: a burst of pressure signals is a single read
        self._pressed: set[PoolRef] = set()
        self._served: set[PoolRef] = set()  # in a turn, until they have been served
        self._asked: set[Place] = set()  # places that have not answered yet
        self._behind: set[Place] = set()  # of those, the groups with more due pools
        self._wake = asyncio.Event()

    def press(self, ref: PoolRef) -> None:
        """Schedule this pool at once: a submit found no free slot, or the spec has changed."""
        pool = self._pools.get(ref)
        if pool is None:
            return
        pool.due_at = min(pool.due_at, time.monotonic() + self._gap_s)
        self._pressed.add(ref)
        self._wake.set()

    def postpone(self, pool: Pool, pause_s: float) -> None:
        """Read this pool not before `pause_s` seconds from now."""
        pool.due_at = max(pool.due_at, time.monotonic() + pause_s)

    def turns(self, now: float, place_of: Callable[[Pool], Place]) -> list[Turn]:
        """Return the pools to read now; `answered` and `served` must follow. `now` is seconds, monotonic."""
        due: defaultdict[Place, list[Pool]] = defaultdict(list)
        for pool in self._pools:
            if pool.due_at <= now and self._may_be_chosen(pool):
                due[place_of(pool)].append(pool)
        self._behind = {place for place, some in due.items() if place in self._asked or len(some) > AT_ONCE}
        return [self._turn(place, some, now) for place, some in due.items() if place not in self._asked]

    def answered(self, turn: Turn) -> None:
        """Record that the Redis has answered or failed, and may be read again."""
        self._asked.discard(turn.place)
        if turn.place in self._behind:
            self._wake.set()

    def served(self, pool: Pool) -> None:
        """The pool's turn is over."""
        self._served.discard(pool.ref)
        if pool.ref in self._pressed or pool.due_at <= time.monotonic():
            self._wake.set()

    async def rest(self, since: float) -> None:
        """Wait until the next pool is due, a place is free for waiting groups, or a pressure signal arrives.

        `since` is the `now` of the last returned turns: pools due after it have not been read.
        """
        now = time.monotonic()
        coming = (pool.due_at for pool in self._pools if pool.due_at > since and self._may_be_chosen(pool))
        wait_s = min(coming, default=now + LONGEST_WAIT_S) - now
        try:
            async with asyncio.timeout(min(max(wait_s, 0.0), LONGEST_WAIT_S)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _may_be_chosen(self, pool: Pool) -> bool:
        return pool.ref not in self._served and pool.spec is not None and not pool.deleting

    def _rank(self, pool: Pool) -> float:
        return pool.due_at - (PRESSED_AHEAD_S if pool.ref in self._pressed else 0.0)

    def _turn(self, place: Place, due: list[Pool], now: float) -> Turn:
        chosen = sorted(due, key=self._rank)[:AT_ONCE]
        for pool in chosen:
            pool.due_at = now + _pause_s(pool)
            self._pressed.discard(pool.ref)
            self._served.add(pool.ref)
        self._asked.add(place)
        return Turn(place=place, pools=tuple(chosen))


def _pause_s(pool: Pool) -> float:
    """Seconds to the pool's next look; sooner while workers are about to leave."""
    poll_s = DEFAULT_POLL_S if pool.spec is None else pool.spec.scaling.poll_seconds
    return min(poll_s, LEAVING_POLL_S) if pool.cordoned else poll_s
