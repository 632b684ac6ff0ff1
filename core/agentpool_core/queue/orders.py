"""Orders to a worker, and the bell for new work: a blocking read, then the remaining orders.

`consumer` waits on it, alone or with a claim behind.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError, QueueReplyError
from agentpool_core.jobs import JobId, LeaseToken
from agentpool_core.queue.completions import CancelJob, Wake, YieldJob
from agentpool_core.queue.connection.client import SHORTEST_BLOCK_SECONDS, ask, call, longest_block_s
from agentpool_core.queue.connection.error_translation import Asking, Reading

if TYPE_CHECKING:
    from agentpool_core.jobs import WorkerId
    from agentpool_core.queue.completions import Control
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.keys import Keys

CORDON_POLL_SECONDS = 1.0  # between claims of a cordoned worker, in case its release is lost
log = logging.getLogger(__name__)


class Orders:
    """Orders of a worker."""

    def __init__(self, redis: RedisClient, keys: Keys, worker: WorkerId) -> None:
        self._redis = redis
        self._bell = keys.bell
        self._key = keys.control(worker)
        self._longest_block_s = longest_block_s(redis)

    def command(self, timeout_ms: int, *, for_work: bool, cordoned: bool) -> tuple[Any, ...]:
        """Return the blocking read; it includes the bell if for work and the worker is not cordoned."""
        longest_s = self._longest_block_s
        if for_work and cordoned:
            longest_s = min(longest_s, CORDON_POLL_SECONDS)
        bell = (self._bell,) if for_work and not cordoned else ()
        block_s = min(max(timeout_ms / 1000, SHORTEST_BLOCK_SECONDS), longest_s)
        return ("BLPOP", self._key, *bell, block_s)

    async def read(self, rung: list[str] | None) -> list[Control]:
        """Return the result of a blocking read, and the orders behind it; on failure these stay for the next call."""
        if rung is None:
            return []
        with Reading("blpop"):
            place, first = rung
        if place == self._bell:
            return [Wake()]
        if place != self._key:
            raise QueueReplyError(doing="blpop", problem="a key that was not asked for")
        rest: list[str] = []
        try:
            rest = await ask(self._redis, "LRANGE", self._key, 0, -1)
            if rest:
                with Asking("ltrim"):
                    await call(self._redis, "LTRIM", self._key, len(rest), -1)
        except QueueError as error:  # the first order has left the list: only this call can report it
            log.debug("more orders may wait: %s", error)
        with Reading("lrange"):
            return [_control(order) for order in (first, *rest)]


def _control(order: str) -> Control:
    verb, token, job_id = order.split(" ", 2)
    if verb == "wake":
        return Wake()
    make = CancelJob if verb == "cancel" else YieldJob
    return make(job_id=JobId(job_id), token=LeaseToken(int(token)))
