"""Read, configure and clear queues: for the operator, the gateway and the command line.

Readings are scripts, so the figures of a snapshot are consistent; all pools of a Redis are read in a single pipeline.
An unreadable value is an error, never a zero. The operator's scaling loop takes over next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from agentpool_core.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReplyError,
    UnknownJobError,
    UnknownPoolError,
)
from agentpool_core.jobs import JobState, PoolRef
from agentpool_core.process.cancellation import raise_lost, results_of
from agentpool_core.queue import scripts
from agentpool_core.queue.budgets import budget_of, opening_of
from agentpool_core.queue.chunks import Chunk, follow_chunks
from agentpool_core.queue.codec.records import (
    BODY_FIELDS,
    HEAD_FIELDS,
    entry_order,
    events_of,
    fields_of,
    job_of,
    only_stream,
)
from agentpool_core.queue.codec.snapshot_reply import snapshot_of
from agentpool_core.queue.connection.client import ask, is_cluster, longest_block_s, pipeline, repeat_once
from agentpool_core.queue.connection.error_translation import Asking, Reading, fault_of
from agentpool_core.queue.formats import NewerFormatError
from agentpool_core.queue.keys import NAMESPACES, Keys, index_of, pressure_of
from agentpool_core.queue.published import published_settings
from agentpool_core.queue.replays import replay_job
from agentpool_core.queue.schedules import Schedules, first_due
from agentpool_core.queue.selection import Selection
from agentpool_core.queue.selector import JobSelector
from agentpool_core.queue.settings import PoolSettings
from agentpool_core.queue.steps import WAIT, open_question, stored_steps, waits_of
from agentpool_core.queue.surveys import surveyed
from agentpool_core.queue.usage_totals import usage_totals

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent, JobId, SignalWait, WorkerId
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.selection import JobPage
    from agentpool_core.queue.snapshots import QueueSnapshot, WorkerSnapshot
    from agentpool_core.queue.usage_totals import UsageQuery, UsageTotals

JOBS_A_SLICE = 500  # deleted by a script
MOST_SLICES = 20_000  # of a purge: bounds a faulty server's answers
HEAR_SECONDS = 1.0  # delay until a new namespace's signals are heard; until then its backlog is polled
log = logging.getLogger(__name__)


class Inspector:
    """An observer of all pools on a Redis."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def snapshots(self, pools: Sequence[PoolRef]) -> dict[PoolRef, QueueSnapshot | QueueError]:
        """Return each pool's queue, or the reason why it is unknown, in a pipelined read. Never raises QueueError."""
        replies = await self._snapshot_replies([Keys(pool).conf for pool in pools])
        found: dict[PoolRef, QueueSnapshot | QueueError] = {}
        for pool, reply in zip(pools, replies, strict=True):
            if isinstance(reply, BaseException):
                found[pool] = fault_of(reply, doing="snapshot")
                continue
            try:
                found[pool] = _snapshot(pool, reply)
            except QueueError as error:
                found[pool] = error
        return found

    async def snapshot(self, pool: PoolRef) -> QueueSnapshot:
        """Return a pool's queue with exact counts of each worker's jobs, so the figures add up.

        Raises UnknownPoolError, or a different QueueError if unreadable.
        """
        return _snapshot(pool, await scripts.SNAPSHOT.run(self._redis, Keys(pool).conf, ("held",)))

    async def surveyed(self, pool: PoolRef, snapshot: QueueSnapshot) -> QueueSnapshot:
        """Return a snapshot with the ready jobs that limits of keys, tenants and kinds let start, by a sample."""
        return await surveyed(self._redis, pool, snapshot)

    async def pools(self, namespaces: Collection[str] = ()) -> list[PoolRef]:
        """Return the pools with settings in this Redis, by name; of these namespaces, or of all if none is named.

        Reads the index, never all keys. Raises QueueAccessError if the user may not read the index: a user of a single
        namespace must name it.
        """
        of = sorted(namespaces) or await self._namespaces()
        members = await results_of(ask(self._redis, "SMEMBERS", index_of(namespace)) for namespace in of)
        with Reading("smembers"):
            named = [f"{namespace}/{name}" for namespace, names in zip(of, members, strict=True) for name in names]
        found = sorted({pool for pool in map(PoolRef.parse_untrusted, named) if pool is not None}, key=str)
        there = await results_of(ask(self._redis, "EXISTS", Keys(pool).conf) for pool in found)
        return [pool for pool, exists in zip(found, there, strict=True) if exists]

    async def namespaces(self) -> list[str]:
        """Return the namespaces with pools in this Redis; none for a user without permission to list them."""
        try:
            return await self._namespaces()
        except QueueAccessError:
            return []

    async def _namespaces(self) -> list[str]:
        found = await ask(self._redis, "SMEMBERS", NAMESPACES)
        with Reading("smembers"):
            return sorted(name for name in found if PoolRef.parse_untrusted(f"{name}/any") is not None)

    async def configure(self, pool: PoolRef, settings: PoolSettings) -> bool:
        """Publish settings; return whether they changed, and wake a worker then. Idempotent.

        Raises NewerFormatError: a newer release keeps the queue, and nothing was written.
        """
        due = [text for pair in (await self._first_due(settings)).items() for text in pair]
        fields = [text for pair in settings.to_mapping().items() for text in pair]
        args = [len(due) // 2, *due, *fields]
        reply, *_ = await results_of(
            (
                scripts.CONFIGURE.run(self._redis, Keys(pool).conf, args),
                self._index("SADD", index_of(pool.namespace), pool.name),
                self._index("SADD", NAMESPACES, pool.namespace),
            )
        )
        with Reading("configure"):
            if reply[0] == "newer":
                raise NewerFormatError(pool, reply[1])
            return bool(reply == ["changed"])

    async def _first_due(self, settings: PoolSettings) -> dict[str, int]:
        """Return the first due times of the schedules, by the clock of Redis."""
        if not settings.schedules:
            return {}
        reply = await ask(self._redis, "TIME")
        with Reading("time"):
            return first_due(settings.schedules, int(reply[0]) * 1000)

    async def _index(self, command: str, key: str, member: str) -> None:
        """Change the index of pools, if permission and memory allow: a pool outside the index is only not listed."""
        with contextlib.suppress(QueueAccessError, QueueMemoryError):
            await ask(self._redis, command, key, member)

    async def cordon(self, pool: PoolRef, workers: Sequence[WorkerId], *, hold_ms: int) -> list[int]:
        """Cordon exactly these workers; return the number of jobs of each (at most 100 are counted).

        All other workers claim again. After the answer, a worker with 0 jobs stays idle until the release, or for
        `hold_ms`: time enough to remove it. Names need not be registered yet.
        """
        reply = await scripts.CORDON.run(self._redis, Keys(pool).conf, (hold_ms, *workers))
        with Reading("cordon"):
            return [int(held) for held in reply[1:]]

    async def settings(self, pool: PoolRef) -> PoolSettings:
        """Return the published settings. Raises UnknownPoolError for a pool without settings, NewerFormatError."""
        return await published_settings(self._redis, pool)

    async def workers(self, pool: PoolRef) -> list[WorkerSnapshot]:
        """Return the pool's registered workers. Raises UnknownPoolError."""
        return list((await self.snapshot(pool)).workers)

    async def pressure(self, namespaces: Collection[str]) -> AsyncIterator[PoolRef]:
        """Yield a pool of these namespaces for each submit without a free slot (at most ten times a second per pool).

        The collection may grow meanwhile; a new namespace is heard within `HEAR_SECONDS`. Never ends by itself; raises
        a QueueError when the connection is lost: subscribe again, and read all pools, because signals may have been
        missed.
        """
        limit_s = min(HEAR_SECONDS, longest_block_s(self._redis))
        heard: set[str] = set()
        subscription = self._redis.pubsub()
        try:
            while True:
                with Asking("subscribe"):
                    if new := sorted(set(namespaces) - heard):
                        await subscription.subscribe(*map(pressure_of, new))
                        heard.update(new)
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=limit_s)
                with Reading("subscribe"):
                    pool = None if message is None else PoolRef.parse_untrusted(message["data"])
                if pool is not None:
                    yield pool
                raise_lost()
                await asyncio.sleep(0)  # a server that sends without end must not starve other tasks
        finally:
            with Asking("unsubscribe"):
                await subscription.aclose()

    async def job(self, pool: PoolRef, job_id: JobId) -> Job:
        """Return a job's record, including the history and the steps. Raises UnknownJobError."""
        names = (*HEAD_FIELDS, *BODY_FIELDS, "steps")  # not the parents' results, which may have a MiB each
        values = await ask(self._redis, "HMGET", Keys(pool).job(job_id), *names)
        with Reading("hmget"):
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        if not fields:
            raise UnknownJobError(str(pool), job_id)
        settings = await self.settings(pool)
        with Reading("hmget"):
            job = job_of(job_id, fields_of(fields), max_attempts=settings.max_attempts, timeout_ms=settings.timeout_ms)
        if job.held_by is not None and "held" in fields:
            job = await self._with_opening(pool, job, str(fields["held"]), settings)
        if "steps" not in fields:
            return job
        steps = await stored_steps(self._redis, Keys(pool).job(job_id), with_results=False)
        question = await open_question(self._redis, Keys(pool).job(job_id), steps) if job.waits_for else None
        return replace(job, steps=tuple(steps), question=question)

    async def _with_opening(self, pool: PoolRef, job: Job, bucket: str, settings: PoolSettings) -> Job:
        """Return a held job with the time at which its limit opens, and the use of its budget."""
        opens = await opening_of(self._redis, pool, bucket)
        if opens is None:
            return job
        budget = await budget_of(self._redis, pool, bucket, settings.limits, opens)
        return replace(job, held_until_ms=opens, budget=budget)

    async def waits(self, pool: PoolRef, job: Job, *, most: int) -> list[SignalWait]:
        """Return the newest waits for signals of a job, oldest first, with the values of the signals."""
        waits = [step for step in job.steps if step.name.startswith(WAIT)]
        return await waits_of(self._redis, Keys(pool).job(job.job_id), waits[-most:] if most else [])

    async def find(
        self, pool: PoolRef, selector: JobSelector, *, limit: int = 100, cursor: str | None = None, bodies: bool = True
    ) -> JobPage:
        """Return at most `limit` jobs of the selector, from the cursor of an earlier page on; see `Selection.page`.

        Without `bodies`, payload, result, progress and checkpoint are None: they may have a MiB each.
        """
        settings = await self.settings(pool)
        return await self.select(pool, selector).page(settings, limit=limit, cursor=cursor, bodies=bodies)

    def schedules(self, pool: PoolRef) -> Schedules:
        """Return the schedules of a pool, to list or change them."""
        return Schedules(self._redis, pool)

    async def usage(self, pool: PoolRef, query: UsageQuery) -> UsageTotals:
        """Return the usage of models by the jobs of a pool."""
        return await usage_totals(self._redis, pool, query)

    def select(self, pool: PoolRef, selector: JobSelector) -> Selection:
        """Return the selected jobs of a pool, to count or change them."""
        return Selection(self._redis, pool, selector)

    async def jobs(self, pool: PoolRef, state: JobState, *, limit: int = 100, bodies: bool = True) -> list[Job]:
        """Return jobs in a state; see `find`."""
        return list((await self.find(pool, JobSelector(states=(state,)), limit=limit, bodies=bodies)).jobs)

    def chunks(self, pool: PoolRef, job_id: JobId, *, after: str = "0") -> AsyncIterator[Chunk]:
        """Yield the output of a job as it comes, until the job has ended. Raises UnknownJobError."""
        return follow_chunks(self._redis, self, pool, job_id, after=after)

    async def replay(self, pool: PoolRef, job_id: JobId, *, downstream: bool = False) -> int:
        """Put a dead letter back into the queue, with all its attempts.

        `downstream`: also restore the jobs that were cancelled because of it, in steps of bounded size that the
        maintenance continues; return their number. A job that was replayed before is accepted, too.

        Raises UnknownJobError, RetiredPoolError (no worker would run it), or InvalidJobError for a job that is not
        dead.
        """
        return await replay_job(self._redis, pool, job_id, downstream=downstream)

    async def discard(self, pool: PoolRef, job_ids: Iterable[JobId] = (), *, limit: int = 1_000) -> int:
        """Delete these dead letters, or the `limit` oldest if none is named; return their number."""
        ids = list(job_ids)
        reply = await scripts.DISCARD.run(self._redis, Keys(pool).conf, (limit, *ids))
        with Reading("discard"):
            return int(reply[0])

    async def events(self, pool: PoolRef, *, after: str = "0", limit: int = 1_000) -> list[JobEvent]:
        """Return at least the next `limit` events after a position (an event's `id`; "0": the oldest kept).

        After a position in the future, as when Redis went back in time with its clock: the newest events.
        """
        entry, _, number = after.partition(".")
        start = entry if number else f"({entry}"
        rows = await ask(self._redis, "XRANGE", Keys(pool).events, start, "+", "COUNT", limit)
        found: list[JobEvent] = []
        with Reading("xrange"):
            for row in rows:
                seen = int(number) + 1 if number and row[0] == entry else 0
                found += events_of(row[0], fields_of(row[1]), first=seen)
                if len(found) >= limit:
                    break
        if rows or not await self._is_to_come(pool, after):
            return found
        return [event for row in await self._newest(pool) for event in events_of(row[0], fields_of(row[1]))]

    async def newest_events(self, pool: PoolRef, *, limit: int = 1_000) -> list[JobEvent]:
        """Return the events of the newest `limit` entries that are kept, newest first."""
        rows = await ask(self._redis, "XREVRANGE", Keys(pool).events, "+", "-", "COUNT", limit)
        with Reading("xrevrange"):
            return [event for row in rows for event in reversed(list(events_of(row[0], fields_of(row[1]))))]

    async def follow(self, pool: PoolRef, *, after: str = "$") -> AsyncIterator[JobEvent]:
        """Yield events as they occur, after a position ("$": from now on). Never ends by itself."""
        key = Keys(pool).events
        last = after
        if last == "$" or await self._is_to_come(pool, last):
            newest = await self._newest(pool)
            last = newest[0][0] if newest else "0"
        elif "." in last:
            for event in await self.events(pool, after=last):
                last = event.id
                yield event
            last = last.partition(".")[0]
        block_ms = int(longest_block_s(self._redis) * 1000)
        while True:
            reply = await ask(self._redis, "XREAD", "COUNT", 100, "BLOCK", block_ms, "STREAMS", key, last)
            with Reading("xread"):
                rows = [(row[0], events_of(row[0], fields_of(row[1]))) for row in only_stream(reply)]
            for last, events in rows:  # noqa: B007  # where the next reading goes on
                for event in events:
                    yield event
            raise_lost()
            if not rows and await self._is_to_come(pool, last):
                newest = await self._newest(pool)
                last = newest[0][0] if newest else "0"

    async def _newest(self, pool: PoolRef) -> list[tuple[str, Any]]:
        """Return the newest entry of the pool's events, as a list with at most one element."""
        rows = await ask(self._redis, "XREVRANGE", Keys(pool).events, "+", "-", "COUNT", 1)
        with Reading("xrevrange"):
            return [(str(row[0]), row[1]) for row in rows]

    async def _is_to_come(self, pool: PoolRef, place: str) -> bool:
        """Return whether a position is in the future: after the newest id, and after the server's clock."""
        ms = place.partition(".")[0].partition("-")[0]
        if not ms.isdecimal():
            return False
        reply = await ask(self._redis, "TIME")
        with Reading("time"):
            if int(ms) <= (int(reply[0]) + 1) * 1000:
                return False
        newest = await self._newest(pool)
        if newest and entry_order(place) <= entry_order(newest[0][0]):
            return False
        log.warning(
            "events of pool %s were asked for after %s, which is still to come: Redis or its clock went back in time; "
            "going on from the newest event", pool, place,
        )  # fmt: skip
        return True

    async def purge(self, pool: PoolRef, *, permitted: Callable[[], Awaitable[bool]] | None = None) -> int:
        """Delete the pool's keys in bounded slices; return their number. Records of ended jobs may stay a while.

        `permitted` is asked right before each slice; after a refusal, the rest stays.
        """
        gone = 0
        for number in range(MOST_SLICES):
            if permitted is not None and not await permitted():
                return gone
            if number == 0:
                await self._index("SREM", index_of(pool.namespace), pool.name)
            reply = await scripts.PURGE.run(self._redis, Keys(pool).conf, (JOBS_A_SLICE,))
            with Reading("purge"):
                gone += int(reply[0])
                if not reply[1]:
                    return gone
        raise QueueReplyError(doing="purge", problem=f"there is more to delete after {MOST_SLICES} steps")

    async def _snapshot_replies(self, confs: Sequence[str]) -> list[Any]:
        script = scripts.SNAPSHOT
        if is_cluster(self._redis):  # its pipelines do not support scripts; pools live on several nodes anyway
            calls = (script.run(self._redis, conf) for conf in confs)
            return list(await asyncio.gather(*calls, return_exceptions=True))
        if not confs:
            return []

        async def attempt() -> list[Any]:
            with Asking("snapshot"):
                replies = await pipeline(self._redis, *(("EVALSHA", script.sha, 1, conf) for conf in confs))
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    replies = await pipeline(self._redis, *(("EVAL", script.source, 1, conf) for conf in confs))
            return replies

        try:
            return list(await repeat_once(attempt))
        except QueueError as error:
            return [error] * len(confs)


def _snapshot(pool: PoolRef, reply: Any) -> QueueSnapshot:
    if reply == ["unknown_pool"]:
        raise UnknownPoolError(str(pool))
    with Reading("snapshot"):
        return snapshot_of(reply)
