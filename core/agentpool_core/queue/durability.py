"""Wait until submitted jobs are on the primary's disk, or on a replica.

The server's log and its replication are ordered, so the confirmation of a write covers all writes before it. `confirm`
therefore writes once more, on the connection that waits, and checks that the jobs are there: a failover between the
submit and the confirmation may have lost them. `prepare` asks for the pool's default, and refuses a server that cannot
confirm, before anything is written. `Producer` calls both around a submit.

With `appendfsync everysec`, WAITAOF of Valkey, and of Redis without https://github.com/redis/redis/pull/13793, confirms
before the fsync. So `_until_synced` waits for a whole period, and for the end of the fsync that it must contain.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from redis.exceptions import MovedError, NoPermissionError, NoScriptError, ResponseError

from agentpool_core.errors import DurabilityUnavailableError, NotDurableError, QueueError
from agentpool_core.jobs import Durability
from agentpool_core.process.cancellation import raise_lost
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.slices import slices
from agentpool_core.queue.connection.client import ask, pipeline_at
from agentpool_core.queue.connection.error_translation import Asking, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Receipt
    from agentpool_core.queue.connection.client import RedisClient

LONGEST_WAIT_MS = 5_000
PROOF_WAIT_MS = 1_000  # for the first sign of a replica
PERIOD_SECONDS = 1.3  # of the fsyncs of everysec, and the precision of the server's clock with room to spare
POLL_SECONDS = 0.02
DEFAULT_KNOWN_SECONDS = 10.0  # after this time a producer reads the pool's default again
IDS_A_CALL = 500  # bounds the time of the script
_WAITS = {Durability.FSYNC: ("WAITAOF", 1, 0), Durability.REPLICA: ("WAIT", 1)}  # and the time limit
REMEDIES = {
    Durability.FSYNC: "set appendonly yes and appendfsync always or everysec, on Redis 7.2 or later or Valkey",
    Durability.REPLICA: "check that a replica is connected",
}


class Confirmation:
    """The durability that the submits to a pool wait for. `wanted`: of a submit without a choice; None: the pool's."""

    def __init__(self, redis: RedisClient, conf: str, wanted: Durability | None) -> None:
        self._redis = redis
        self._conf = conf
        self._wanted = wanted
        self._default = Durability.LOCAL
        self._default_until = -math.inf  # time of the event loop
        self._possible = {Durability.LOCAL}

    async def prepare(self, wanted: Durability | None) -> Durability:
        """Return the durability of the next submit. Raises DurabilityUnavailableError if the server lacks the means."""
        durability = wanted or self._wanted or await self._pools_default()
        if durability not in self._possible:
            await self._check(durability)
            self._possible.add(durability)
        return durability

    async def confirm(self, receipts: Sequence[Receipt], durability: Durability) -> None:
        """Wait for at most `LONGEST_WAIT_MS` until the jobs of the receipts are durable.

        Raises NotDurableError with the receipts as `accepted`: the jobs are submitted, but a failure may lose them.
        """
        if durability is Durability.LOCAL or not receipts:
            return
        cause = None
        try:
            problem = await self._problem([receipt.job_id for receipt in receipts], durability)
        except QueueError as error:
            raise_lost()
            cause, problem = error, error.detail
        if problem:
            self._possible.discard(durability)  # the server may have changed
            raise NotDurableError(durability.value, problem, receipts, remedy=REMEDIES[durability]) from cause

    async def _pools_default(self) -> Durability:
        now = asyncio.get_running_loop().time()
        if now >= self._default_until:
            reply = await ask(self._redis, "HMGET", self._conf, "durability")
            with Reading("submit"):
                (value,) = reply
            self._default = stored_durability(value)
            self._default_until = now + DEFAULT_KNOWN_SECONDS
        return self._default

    async def _check(self, durability: Durability) -> None:
        """Raise DurabilityUnavailableError if the server refuses to wait, or has no replica. Nothing is written."""
        with Asking("confirm"):
            (reply,) = await pipeline_at(self._redis, self._conf, (*_WAITS[durability], PROOF_WAIT_MS))
        problem = ""
        if isinstance(reply, ResponseError):
            problem = _reason(reply)
        elif durability is Durability.REPLICA and not _count(reply):
            problem = "no replica answers"
        if problem:
            raise DurabilityUnavailableError(durability.value, problem, remedy=REMEDIES[durability])

    async def _problem(self, ids: Sequence[str], durability: Durability) -> str:
        """Return "" once all jobs are there, and durable; otherwise the reason. Raises QueueError."""
        first, *rest = slices([len(job_id) for job_id in ids], most=IDS_A_CALL)
        missing, confirmed = await self._wait(ids[slice(*first)], durability)
        if confirmed and durability is Durability.FSYNC and not (missing or await self._is_always()):
            confirmed = await self._until_synced()
            rest.append(first)  # a restart meanwhile may have lost these, too
        for cut in rest:  # one wait covers all; checked after it, because a failover may come in between
            missing += await scripts.CONFIRM.run(self._redis, self._conf, ids[slice(*cut)])
        if missing:
            return f"a failover or a restart lost {missing} of them"
        where = "a replica" if durability is Durability.REPLICA else "the disk"
        return "" if confirmed else f"{where} did not confirm within {LONGEST_WAIT_MS / 1000:g} s"

    async def _is_always(self) -> bool:
        """Return whether the server is known to sync each write; a user without CONFIG cannot know."""
        with Asking("confirm"):
            (reply,) = await pipeline_at(self._redis, self._conf, ("CONFIG", "GET", "appendfsync"))
        return isinstance(reply, list | dict) and "always" in (reply.values() if isinstance(reply, dict) else reply)

    async def _until_synced(self) -> bool:
        """Return whether an fsync that began after the write has ended, in time and without an error.

        With no fsync on its way, the server begins one within a period, before it answers the next call; a call later
        its end is visible.
        """
        try:
            async with asyncio.timeout(PERIOD_SECONDS + LONGEST_WAIT_MS / 1000):
                await self._until_no_fsync_runs()
                await asyncio.sleep(PERIOD_SECONDS)
                await self._until_no_fsync_runs()
                return await self._until_no_fsync_runs()
        except TimeoutError:
            return False

    async def _until_no_fsync_runs(self) -> bool:
        """Return whether the log is well, once no fsync is on its way."""
        while True:
            with Asking("confirm"):
                (found,) = await pipeline_at(self._redis, self._conf, ("INFO", "persistence"))
                if isinstance(found, ResponseError):
                    raise found
            with Reading("info"):
                if "aof_pending_bio_fsync:0" in found:
                    return "aof_last_write_status:ok" in found
            await asyncio.sleep(POLL_SECONDS)

    async def _wait(self, ids: Sequence[str], durability: Durability) -> tuple[int, bool]:
        """Return how many jobs are missing, and whether the rest is durable. Raises QueueError."""
        write = ("EVALSHA", scripts.CONFIRM.sha, 1, self._conf, *ids)
        wait = (*_WAITS[durability], LONGEST_WAIT_MS)
        with Asking("confirm"):
            written, waited = await pipeline_at(self._redis, self._conf, write, wait)
            if isinstance(written, NoScriptError | MovedError):  # the ordinary call loads the script, and is redirected
                await scripts.CONFIRM.run(self._redis, self._conf, ids)
                written, waited = await pipeline_at(self._redis, self._conf, write, wait)
            for reply in (written, waited):
                if isinstance(reply, ResponseError):
                    raise reply
        with Reading("confirm"):
            return int(written), _count(waited) >= 1


def stored_durability(value: object) -> Durability:
    """Return the durability in the settings of a pool; local if they have none, or one of a later release."""
    return next((known for known in Durability if known == value), Durability.LOCAL)


def _reason(refusal: ResponseError) -> str:
    """Return why the server can never confirm; "" for a passing state, which the submit meets, too."""
    if isinstance(refusal, NoPermissionError):
        return "its user may not ask for a confirmation"
    if "unknown command" in str(refusal):
        return "it has no WAITAOF"
    return "appendonly is off" if "appendonly" in str(refusal) else ""


def _count(waited: Any) -> int:
    """Return the number of confirmations: WAITAOF counts the primary's disk and the replicas' disks."""
    return int(waited[0] if isinstance(waited, list) else waited)
