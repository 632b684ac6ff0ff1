"""What becomes of a pool's queue once its AgentPool is gone, without holding its deletion up: purged, or retired.

No finalizer: a note of every pool lies in its Redis, among those of its namespace, with the cluster that it belongs
to, its uid, and whether its queue is retained. A pass compares the notes with the API server. Of a pool that is gone,
`deletionPolicy: Delete` has the keys removed when its workers are gone too; otherwise its queue is marked as retired
at once, and takes no new jobs until an AgentPool of that name publishes its settings anew. Then the note is removed.
So a deletion that happened while no operator ran is made good by the next that reads that Redis. Before each step of a
purge it is asked again whether the pool is gone and this operator leads: either may have changed while the operator
was frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool.errors import AgentPoolError, ClusterError, QueueError, SettingError, UnknownPoolError
from agentpool.jobs import PoolRef
from agentpool.queue.connection import ask
from agentpool.queue.faults import Reading
from agentpool.queue.keys import notes_of
from agentpool.queue.records import fields_of
from agentpool_operator import paths
from agentpool_operator.problems import Failures
from agentpool_operator.refusals import NotLeadingError, NotThereError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.links import Link, Links

RETAIN = "retain"  # third word of a note whose queue is kept; the first are the cluster's and the pool's uid
PASS_S = 5.0  # seconds between passes while something waits to be purged
LONGEST_PASS_S = 120.0  # seconds for one Redis; what is left then waits for the next pass
REST_S = 300.0  # seconds between passes otherwise
LOOKUP_S = 1.0  # seconds: whoever notes a pool has a queue to read, which must not wait for a slow API server
ASK_AGAIN_S = 5.0  # seconds before a look-up that failed is tried again
log = logging.getLogger(__name__)


class Purger:
    """Keeps and serves the notes."""

    def __init__(
        self,
        cluster: Cluster,
        links: Links,
        *,
        leading: Callable[[], bool],
        lives: Callable[[PoolRef], bool] = lambda _: False,
    ) -> None:
        self._cluster = cluster
        self._links = links
        self._leading = leading
        self._lives = lives  # what is known to be there need not be looked up
        self._asking = asyncio.Lock()
        self._cluster_id = ""  # the kube-system namespace's uid; empty = not known, then nothing is noted
        self._ask_at = 0.0  # seconds, monotonic: not before
        self._unknown_because = ""  # why it was not known when that was told last
        self._noted: dict[tuple[str, PoolRef], str] = {}  # URL and pool -> note
        self._owed: dict[tuple[str, PoolRef], str] = {}  # notes that wait for the cluster's uid, which goes before them
        self._met: set[str] = set()  # URLs whose notes have been, or are about to be, looked at
        self._due = asyncio.Event()
        self._failures: dict[str, int] = {}  # URL -> passes in a row that failed
        self._unexpected = Failures()
        self.waiting: set[str] = set()  # URLs on which a pool waits to be purged

    async def note(self, link: Link, pool: PoolRef, uid: str, *, delete: bool) -> None:
        """Writes a pool's note, where that changes anything. Raises QueueError."""
        if link.url not in self._met:  # what was deleted while no operator ran is told by the notes that lie there
            self._met.add(link.url)
            self.pool_gone(link.url)
        self._owed[link.url, pool] = uid if delete else f"{uid} {RETAIN}"
        await self._pay(link, pool)  # else a pass does, of which this Redis has one until all is paid

    async def _pay(self, link: Link, pool: PoolRef) -> bool:
        """Writes the note that is owed to a pool; False while the cluster is not known. Raises QueueError."""
        cluster = await self._cluster_uid()
        owed = self._owed.get((link.url, pool))
        if not cluster or owed is None:
            return owed is None
        note = f"{cluster} {owed}"
        if self._noted.get((link.url, pool)) != note:
            await ask(link.redis, "HSET", notes_of(pool.namespace), pool.name, note, doing="note")
        self._noted[link.url, pool] = note
        if self._owed.get((link.url, pool)) == owed:
            del self._owed[link.url, pool]
        return True

    def pool_gone(self, url: str | None) -> None:
        """A pool on this Redis was deleted, or may have been; None = it is not known on which. Looks soon."""
        if url is not None:
            self.waiting.add(url)
        self._due.set()

    async def run(self) -> None:
        """Passes over all known Redis servers, for ever."""
        while True:
            if self._leading():
                await asyncio.gather(*(self._guarded(link) for link in self._links.all()))
            try:
                async with asyncio.timeout(PASS_S if self.waiting else REST_S):
                    await self._due.wait()
                await asyncio.sleep(1.0)  # the workers are about to be stopped
            except TimeoutError:
                pass
            self._due.clear()

    async def _guarded(self, link: Link) -> None:
        try:
            async with asyncio.timeout(LONGEST_PASS_S):
                waits = await self.run_once(link)
            if waits:
                self.waiting.add(link.url)
            else:
                self.waiting.discard(link.url)
        except NotLeadingError:
            log.info("deleted pools on %s are left to the operator that leads now", link.place)
        except AgentPoolError as error:
            failures = self._failures[link.url] = self._failures.get(link.url, 0) + 1
            told = failures.bit_count() == 1  # the 1st, 2nd, 4th, 8th …: an outage is told, then remembered ever less
            log.log(
                logging.WARNING if told else logging.DEBUG,
                "deleted pools on %s are purged later: %s",
                link.place,
                link.words(error) if isinstance(error, QueueError) else error,
            )
        except Exception as error:  # noqa: BLE001 - a server may answer anything, or without end
            self._unexpected.note(link.place, error, doing="purging deleted pools")
        else:
            self._unexpected.succeeded(link.place)
            if self._failures.pop(link.url, 0):
                log.info("deleted pools on %s can be purged again", link.place)

    async def run_once(self, link: Link) -> bool:
        """One pass over one Redis; whether something waits for its workers to go, or for the cluster to be known."""
        owing = [pool for url, pool in self._owed if url == link.url]
        waits = not all([await self._pay(link, pool) for pool in owing])
        for namespace in sorted(link.namespaces | set(await link.inspector.namespaces())):
            waits |= await self._read_notes(link, namespace)
        return waits

    async def _read_notes(self, link: Link, namespace: str) -> bool:
        """Serves the notes of one namespace; whether something waits."""
        found = await ask(link.redis, "HGETALL", notes_of(namespace), doing="read notes")
        with Reading("hgetall"):
            notes = fields_of(found)
        cluster = await self._cluster_uid()
        waits = False
        for name, note in notes.items():
            pool = _pool_named(f"{namespace}/{name}")
            if pool is not None and cluster and str(note).partition(" ")[0] == cluster:
                waits |= await self._serve(link, pool, retain=str(note).endswith(f" {RETAIN}"))
        return waits

    async def _serve(self, link: Link, pool: PoolRef, *, retain: bool) -> bool:
        if self._lives(pool) or not await self._is_gone(pool):
            return False  # it lives, or a new pool of that name has taken the queue over
        if retain:
            await self._retire(link, pool)
            return False
        if await self._has_workers(link, pool):
            return True

        async def permitted() -> bool:
            return await self._is_gone(pool)

        gone = await link.inspector.purge(pool, permitted=permitted)
        if not await self._is_gone(pool):
            return False  # made anew meanwhile: the note is the new one's
        await self._remove_note(link, pool)
        log.info("pool %s was deleted with deletionPolicy Delete: %d keys removed", pool, gone)
        return False

    async def _retire(self, link: Link, pool: PoolRef) -> None:
        """Lets the queue take no new jobs. Settings that a new pool publishes, now or later, end it: they differ."""
        with contextlib.suppress(UnknownPoolError):
            settings = await link.inspector.settings(pool)
            await link.inspector.configure(pool, replace(settings, retired=True))
        await self._remove_note(link, pool)
        log.info("pool %s was deleted with deletionPolicy Retain: its queue takes no new jobs", pool)

    async def _remove_note(self, link: Link, pool: PoolRef) -> None:
        await ask(link.redis, "HDEL", notes_of(pool.namespace), pool.name, doing="remove note")
        self._noted.pop((link.url, pool), None)

    async def _is_gone(self, pool: PoolRef) -> bool:
        """Whether the pool is gone and this operator leads still, which is asked last: a frozen one does not know."""
        try:
            await self._cluster.get(paths.agentpools(pool.namespace, pool.name))
        except NotThereError:
            if not self._leading():
                raise NotLeadingError(f"the queue of {pool} is not purged: this operator does not lead") from None
            return True
        return False

    async def _has_workers(self, link: Link, pool: PoolRef) -> bool:
        try:
            found = await link.inspector.snapshots([pool])
        except QueueError:
            return True
        snapshot = found[pool]
        if isinstance(snapshot, UnknownPoolError):
            return False
        if isinstance(snapshot, QueueError):
            raise snapshot
        return bool(snapshot.live_workers)

    async def _cluster_uid(self) -> str:
        async with self._asking:  # many pools are noted at once: one request serves all
            if not self._cluster_id and time.monotonic() >= self._ask_at:
                try:
                    async with asyncio.timeout(LOOKUP_S):
                        namespace = await self._cluster.get(paths.namespaces("kube-system"))
                except (ClusterError, TimeoutError) as error:
                    self._ask_at = time.monotonic() + ASK_AGAIN_S
                    why = str(error) or "the API server is slow"
                    if why != self._unknown_because:
                        self._unknown_because = why
                        log.info("what deleted pools leave is looked after once the cluster's uid is read: %s", why)
                else:
                    self._cluster_id = str(namespace["metadata"]["uid"])
            return self._cluster_id


def _pool_named(text: str) -> PoolRef | None:
    """The pool that a note is about; None for what no pool is named: others may write there, too."""
    try:
        return PoolRef.parse(text)
    except SettingError:
        return None
