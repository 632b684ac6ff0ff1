"""Purge or retire the queue of a deleted AgentPool, without delaying the deletion.

No finalizer: each pool has a note in its Redis, among the notes of the namespace, with its cluster, its uid, and
whether its queue is retained. A pass compares the notes with the API server. For a deleted pool, `deletionPolicy:
Delete` removes the keys after its workers are gone; otherwise its queue is retired at once, and accepts no new jobs
until an AgentPool of that name publishes its settings again. Then the note is removed. So a deletion without a running
operator is completed by the next operator that reads that Redis. Before each step of a purge the absence of the pool
and the leadership are checked again: either may have changed while the operator was suspended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.errors import AgentPoolError, ClusterError, QueueError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.errors import NotThereError
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import notes_of
from agentpool_operator.cluster import NotLeadingError
from agentpool_operator.pools.problems import Failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.queue.redis_connections import RedisConnection, RedisConnections

RETAIN = "retain"  # third word of a note of a retained queue; the first are the cluster's and the pool's uid
PASS_SECONDS = 5.0  # between passes while something waits to be purged
LONGEST_PASS_SECONDS = 120.0  # for a Redis; the rest waits for the next pass
REST_SECONDS = 300.0  # between passes otherwise
LOOKUP_SECONDS = 1.0  # the caller has a queue to read, which must not wait for a slow API server
ASK_AGAIN_SECONDS = 5.0  # before a look-up that failed is tried again
log = logging.getLogger(__name__)


class Purger:
    """Keeps and serves the notes."""

    def __init__(
        self,
        cluster: Cluster,
        connections: RedisConnections,
        *,
        leading: Callable[[], bool],
        lives: Callable[[PoolRef], bool] = lambda _: False,
    ) -> None:
        self._cluster = cluster
        self._connections = connections
        self._leading = leading
        self._lives = lives  # known pools need no lookup
        self._asking = asyncio.Lock()
        self._cluster_id = ""  # the kube-system namespace's uid; empty = not known, then nothing is noted
        self._ask_at = 0.0  # seconds, monotonic: not before
        self._unknown_because = ""  # last logged reason
        self._noted: dict[tuple[str, PoolRef], str] = {}  # URL and pool -> note
        self._unwritten: dict[
            tuple[str, PoolRef], str
        ] = {}  # notes that wait for the cluster's uid, which goes before them
        self._foreign: dict[tuple[str, PoolRef], str] = {}  # URL and pool -> cluster that owns the queue
        self._urls_with_notes: set[str] = set()  # URLs with notes that have been, or are about to be, read
        self._due = asyncio.Event()
        self._failures: dict[str, int] = {}  # URL -> passes in a row that failed
        self._unexpected = Failures()
        self.waiting: set[str] = set()  # URLs on which a pool waits to be purged

    async def note(self, connection: RedisConnection, pool: PoolRef, uid: str, *, delete: bool) -> None:
        """Write a pool's note if it differs from the written note. Raises QueueError."""
        if connection.url not in self._urls_with_notes:  # notes show deletions without a running operator
            self._urls_with_notes.add(connection.url)
            self.check_soon(connection.url)
        self._unwritten[connection.url, pool] = uid if delete else f"{uid} {RETAIN}"
        await self._write_note(connection, pool)  # a note that waits for the cluster's uid is written by a later pass

    async def _write_note(self, connection: RedisConnection, pool: PoolRef) -> bool:
        """Write the unwritten note of a pool; return False while the cluster is unknown. Raises QueueError."""
        cluster = await self._cluster_uid()
        unwritten = self._unwritten.get((connection.url, pool))
        if not cluster or unwritten is None:
            return unwritten is None
        note = f"{cluster} {unwritten}"
        if self._noted.get((connection.url, pool)) != note:
            (found,) = await ask(connection.redis, "HMGET", notes_of(pool.namespace), pool.name, doing="read note")
            owner = _cluster_of(found)
            self._see_owner(connection, pool, owner, cluster)
            if owner not in {"", cluster}:
                return True  # a later pass looks again whether the other cluster's note has gone
            await ask(connection.redis, "HSET", notes_of(pool.namespace), pool.name, note, doing="note")
        self._noted[connection.url, pool] = note
        if self._unwritten.get((connection.url, pool)) == unwritten:
            del self._unwritten[connection.url, pool]
        return True

    def keep_only(self, urls: set[str]) -> None:
        """Forget what is known of Redis servers that no pool uses and no purge waits for: URLs hold passwords."""
        kept = urls | self.waiting
        for known in (self._noted, self._unwritten, self._foreign):
            for key in [key for key in known if key[0] not in kept]:
                del known[key]
        self._urls_with_notes &= kept
        self._failures = {url: count for url, count in self._failures.items() if url in kept}

    def foreign_owner(self, url: str, pool: PoolRef) -> str:
        """Return the uid of the cluster that owns the queue of this name on this Redis; empty = this cluster."""
        return self._foreign.get((url, pool), "")

    def _see_owner(self, connection: RedisConnection, pool: PoolRef, owner: str, cluster: str) -> None:
        """Record the cluster in a note; only that cluster's operator purges or retires the queue."""
        if owner in {"", cluster}:
            self._foreign.pop((connection.url, pool), None)
        elif self._foreign.get((connection.url, pool)) != owner:
            self._foreign[connection.url, pool] = owner
            log.warning("the queue of pool %s on %s belongs to the cluster %s", pool, connection.place, owner)

    def check_soon(self, url: str | None) -> None:
        """Note that a pool on this Redis may have been deleted; None = unknown Redis. Checks soon."""
        if url is not None:
            self.waiting.add(url)
        self._due.set()

    async def run(self) -> None:
        """Run passes over all known Redis servers, for ever."""
        while True:
            if self._leading():
                await asyncio.gather(*(self._run_guarded(connection) for connection in self._connections.all()))
            try:
                async with asyncio.timeout(PASS_SECONDS if self.waiting else REST_SECONDS):
                    await self._due.wait()
                await asyncio.sleep(1.0)  # the workers are about to be stopped
            except TimeoutError:
                pass
            self._due.clear()

    async def _run_guarded(self, connection: RedisConnection) -> None:
        try:
            async with asyncio.timeout(LONGEST_PASS_SECONDS):
                waits = await self.run_once(connection)
            if waits:
                self.waiting.add(connection.url)
            else:
                self.waiting.discard(connection.url)
        except NotLeadingError:
            log.info("deleted pools on %s are left to the operator that leads now", connection.place)
        except AgentPoolError as error:
            failures = self._failures[connection.url] = self._failures.get(connection.url, 0) + 1
            is_reported = failures.bit_count() == 1  # the 1st, 2nd, 4th, 8th …: reported less and less often
            log.log(
                logging.WARNING if is_reported else logging.DEBUG,
                "deleted pools on %s are purged later: %s",
                connection.place,
                connection.words(error) if isinstance(error, QueueError) else error,
            )
        except Exception as error:  # noqa: BLE001 - a server may answer anything, or without end
            self._unexpected.note(connection.place, error, doing="purging deleted pools")
        else:
            self._unexpected.reset(connection.place)
            if self._failures.pop(connection.url, 0):
                log.info("deleted pools on %s can be purged again", connection.place)

    async def run_once(self, connection: RedisConnection) -> bool:
        """Run a pass over a Redis; return whether workers must go first, or the cluster is unknown."""
        waiting_pools = [pool for url, pool in self._unwritten if url == connection.url]
        waits = not all([await self._write_note(connection, pool) for pool in waiting_pools])
        for namespace in sorted(connection.namespaces | set(await connection.inspector.namespaces())):
            waits |= await self._read_notes(connection, namespace)
        return waits

    async def _read_notes(self, connection: RedisConnection, namespace: str) -> bool:
        """Process the notes of a namespace; return whether something waits."""
        found = await ask(connection.redis, "HGETALL", notes_of(namespace), doing="read notes")
        with Reading("hgetall"):
            notes = fields_of(found)
        cluster = await self._cluster_uid()
        waits = False
        for name, note in notes.items():
            pool = PoolRef.parse_untrusted(f"{namespace}/{name}")
            if pool is not None and cluster and self._lives(pool):
                self._see_owner(connection, pool, _cluster_of(note), cluster)
            elif pool is not None and cluster and _cluster_of(note) == cluster:
                waits |= await self._serve(connection, pool, retain=str(note).endswith(f" {RETAIN}"))
        return waits

    async def _serve(self, connection: RedisConnection, pool: PoolRef, *, retain: bool) -> bool:
        if self._lives(pool) or not await self._is_gone(pool):
            return False  # alive, or a new pool of that name has taken over the queue
        if retain:
            await self._retire(connection, pool)
            return False
        if await self._has_workers(connection, pool):
            return True

        async def permitted() -> bool:
            return await self._is_gone(pool)

        gone = await connection.inspector.purge(pool, permitted=permitted)
        if not await self._is_gone(pool):
            return False  # created again meanwhile: the note belongs to the new pool
        await self._remove_note(connection, pool)
        log.info("pool %s was deleted with deletionPolicy Delete: %d keys removed", pool, gone)
        return False

    async def _retire(self, connection: RedisConnection, pool: PoolRef) -> None:
        """Make the queue refuse new jobs. Published settings of a new pool, now or later, end that."""
        with contextlib.suppress(UnknownPoolError):
            settings = await connection.inspector.settings(pool)
            await connection.inspector.configure(pool, replace(settings, retired=True))
        await self._remove_note(connection, pool)
        log.info("pool %s was deleted with deletionPolicy Retain: its queue refuses new jobs", pool)

    async def _remove_note(self, connection: RedisConnection, pool: PoolRef) -> None:
        await ask(connection.redis, "HDEL", notes_of(pool.namespace), pool.name, doing="remove note")
        self._noted.pop((connection.url, pool), None)

    async def _is_gone(self, pool: PoolRef) -> bool:
        """Return whether the pool is gone and this operator still leads.

        The leadership is checked last, because the operator may have been suspended.
        """
        try:
            await self._cluster.get(paths.agentpools(pool.namespace, pool.name))
        except NotThereError:
            if not self._leading():
                raise NotLeadingError(f"the queue of {pool} is not purged: this operator does not lead") from None
            return True
        return False

    async def _has_workers(self, connection: RedisConnection, pool: PoolRef) -> bool:
        try:
            found = await connection.inspector.snapshots([pool])
        except QueueError:
            return True
        snapshot = found[pool]
        if isinstance(snapshot, UnknownPoolError):
            return False
        if isinstance(snapshot, QueueError):
            raise snapshot
        return bool(snapshot.live_workers)

    async def _cluster_uid(self) -> str:
        async with self._asking:  # a single request serves many pools at once
            if not self._cluster_id and time.monotonic() >= self._ask_at:
                try:
                    async with asyncio.timeout(LOOKUP_SECONDS):
                        namespace = await self._cluster.get(paths.namespaces("kube-system"))
                except (ClusterError, TimeoutError) as error:
                    self._ask_at = time.monotonic() + ASK_AGAIN_SECONDS
                    why = str(error) or "the API server is slow"
                    if why != self._unknown_because:
                        self._unknown_because = why
                        log.info("deleted pools are purged when the cluster's uid is known: %s", why)
                else:
                    self._cluster_id = str(namespace["metadata"]["uid"])
            return self._cluster_id


def _cluster_of(note: object) -> str:
    """Return the cluster in a note; empty = no note."""
    text = note.decode(errors="replace") if isinstance(note, bytes) else str(note or "")
    return text.partition(" ")[0]
