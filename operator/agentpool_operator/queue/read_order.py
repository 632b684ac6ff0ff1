"""Order of queue reads: due pools, with pools under pressure first.

Pools of a Redis are read together in a single round trip, but in bounded groups: a pool under pressure then waits for a
short read of some pools, not for a read of a thousand. A Redis is read again only after an answer, and a pool is chosen
again only after the end of its batch. So a hanging server, or a slow write, delays only the pools of that server.
`loop` does the work.
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

Group = Hashable  # common property of pools that are read together: equal for pools of a Redis
AT_ONCE = 50  # pools that are read together: some 20 ms of work
DEFAULT_POLL_SECONDS = 1.0  # between reads of a pool while the spec is unreadable
LEAVING_POLL_SECONDS = 2.0  # between looks at workers that finish their jobs before they go
LONGEST_WAIT_SECONDS = 1.0  # new pools become due without a wake-up
URGENT_AHEAD_SECONDS = 2.0  # a pool overdue by more precedes pools under pressure, however many


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBatch:
    """Pools that are read together."""

    group: Group
    pools: tuple[Pool, ...]


class Schedule:
    """The order of reads."""

    def __init__(self, pools: Pools, *, gap_s: float) -> None:
        self._pools = pools
        self._gap_s = gap_s  # seconds: a burst of pressure signals is a single read
        self._urgent: set[PoolRef] = set()
        self._in_progress: set[PoolRef] = set()  # chosen, until `finish`
        self._awaited: set[Group] = set()  # groups without an answer yet
        self._waiting: set[Group] = set()  # of those, the groups with more due pools
        self._wake = asyncio.Event()

    def request_read(self, ref: PoolRef) -> None:
        """Schedule this pool at once: a submit found no free slot, or the spec has changed."""
        pool = self._pools.get(ref)
        if pool is None:
            return
        pool.due_at = min(pool.due_at, time.monotonic() + self._gap_s)
        self._urgent.add(ref)
        self._wake.set()

    def postpone(self, pool: Pool, pause_s: float) -> None:
        """Read this pool not before `pause_s` seconds from now."""
        pool.due_at = max(pool.due_at, time.monotonic() + pause_s)

    def batches(self, now: float, group_of: Callable[[Pool], Group]) -> list[ReadBatch]:
        """Return the pools to read now; `release` and `finish` must follow. `now` is seconds, monotonic."""
        due: defaultdict[Group, list[Pool]] = defaultdict(list)
        for pool in self._pools:
            if pool.due_at <= now and self._may_be_chosen(pool):
                due[group_of(pool)].append(pool)
        self._waiting = {group for group, some in due.items() if group in self._awaited or len(some) > AT_ONCE}
        return [self._batch(group, some, now) for group, some in due.items() if group not in self._awaited]

    def release(self, batch: ReadBatch) -> None:
        """Record that the Redis has answered or failed, and may be read again."""
        self._awaited.discard(batch.group)
        if batch.group in self._waiting:
            self._wake.set()

    def finish(self, pool: Pool) -> None:
        """Record that the scaling loop has finished with the pool."""
        self._in_progress.discard(pool.ref)
        if pool.ref in self._urgent or pool.due_at <= time.monotonic():
            self._wake.set()

    async def rest(self, since: float) -> None:
        """Wait until the next pool is due, a Redis has answered for waiting groups, or a pressure signal arrives.

        `since` is the `now` of the last batches: pools that became due later have not been read.
        """
        now = time.monotonic()
        coming = (pool.due_at for pool in self._pools if pool.due_at > since and self._may_be_chosen(pool))
        wait_s = min(coming, default=now + LONGEST_WAIT_SECONDS) - now
        try:
            async with asyncio.timeout(min(max(wait_s, 0.0), LONGEST_WAIT_SECONDS)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _may_be_chosen(self, pool: Pool) -> bool:
        mine = pool.spec is not None and not pool.deleting and not pool.yielded_to
        return mine and pool.ref not in self._in_progress

    def _rank(self, pool: Pool) -> float:
        return pool.due_at - (URGENT_AHEAD_SECONDS if pool.ref in self._urgent else 0.0)

    def _batch(self, group: Group, due: list[Pool], now: float) -> ReadBatch:
        chosen = sorted(due, key=self._rank)[:AT_ONCE]
        for pool in chosen:
            pool.due_at = now + _pause_s(pool)
            self._urgent.discard(pool.ref)
            self._in_progress.add(pool.ref)
        self._awaited.add(group)
        return ReadBatch(group=group, pools=tuple(chosen))


def _pause_s(pool: Pool) -> float:
    """Return the seconds until the pool's next read; fewer while workers are about to leave."""
    poll_s = DEFAULT_POLL_SECONDS if pool.spec is None else pool.spec.scaling.poll_seconds
    return min(poll_s, LEAVING_POLL_SECONDS) if pool.cordoned else poll_s
