"""The backlog of pools: a pipelined read for each Redis, and the published settings beside it.

Every pool ends with either a fresh backlog or a problem with the reason, in the record `queue`; a pool's problem never
affects a different pool. Unknown is not zero: the scaling loop holds such a pool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agentpool_core.errors import (
    ClusterError,
    QueueAccessError,
    QueueError,
    QueueReplyError,
    QueueUnreachableError,
    SettingError,
    UnknownPoolError,
)
from agentpool_core.jobs import WorkerId
from agentpool_core.queue.history import APART_MS, PoolHistory
from agentpool_core.queue.load import bounds_of, loads_of, lost_jobs, lost_workers
from agentpool_core.queue.snapshots import QueueSnapshot
from agentpool_core.queue.tenant_waits import longest_waits
from agentpool_core.redis_address import SecretError
from agentpool_core.spec import settings_of
from agentpool_operator.cluster import NotLeadingError
from agentpool_operator.pools.problems import Failures, Problem, unexpected_problem
from agentpool_operator.queue import plausibility
from agentpool_operator.scaling.observation import Backlog, Counters, WorkerLoad
from agentpool_operator.scaling.patterns import DAYS_AGO, seconds_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agentpool_core.queue.tenant_waits import TenantWait
    from agentpool_core.redis_address import Address
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.queue.purge import Purger
    from agentpool_operator.queue.redis_connections import RedisConnection, RedisConnections
    from agentpool_operator.queue.secrets import Secrets

MS_PER_SECOND = 1000.0
RECORD_SECONDS = APART_MS / MS_PER_SECOND + 1.0  # between two points: the queue refuses a point that is early
NAMED_TENANTS = 50  # of a pool, while this operator runs: tenants come from submitters, without end
OTHER_TENANTS = "other"
SETTINGS_MISSING = "SettingsMissing"  # the queue has no settings, or not any more
DOING = "reading the queue"
log = logging.getLogger(__name__)


class QueueReader:
    """Reads backlogs."""

    def __init__(
        self,
        secrets: Secrets,
        connections: RedisConnections,
        purger: Purger,
        *,
        timeout_s: float,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leading = leading
        self._purger = purger
        self._secrets = secrets
        self._connections = connections
        self._timeout_s = timeout_s
        self._failures = Failures()

    async def read(self, pools: Sequence[Pool]) -> None:
        """Read the queues of pools, each Redis once and all of them at the same time."""
        for pool in pools:
            pool.queue.pause_s = 0.0
        by_connection: dict[int, tuple[RedisConnection, list[Pool]]] = {}
        connections = await asyncio.gather(*(self._connection_of(pool) for pool in pools))
        for pool, connection in zip(pools, connections, strict=True):
            if connection is not None:
                by_connection.setdefault(id(connection), (connection, []))[1].append(pool)
        await asyncio.gather(*(self._read_connection(connection, some) for connection, some in by_connection.values()))

    async def tidy(self, pools: Iterable[Pool], *, also: set[str]) -> None:
        """Close connections that neither a pool nor `also` needs."""
        await self._connections.keep_only({pool.redis_url for pool in pools if pool.redis_url is not None} | also)

    async def cordon(self, pool: Pool, workers: list[str], *, hold_s: float) -> list[int]:
        """Cordon exactly these workers; return the number of jobs of each. Raises QueueError."""
        if not self._leading():
            raise NotLeadingError(f"workers of {pool.ref} are not cordoned: this operator does not lead")
        address = pool.queue.address
        if address is None:
            raise QueueUnreachableError(f"the queue of {pool.ref} has not been read yet")
        connection = self._connections.open(address)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await connection.inspector.cordon(
                    pool.ref, [WorkerId(name) for name in workers], hold_ms=int(hold_s * MS_PER_SECOND)
                )
        except QueueError as error:
            known = address.without_secret(error)
            detail = f"the workers are not cordoned: {address.place}: {known.detail}"
            raise QueueError(detail, remedy=known.remedy) from error
        except TimeoutError as error:
            raise self._no_answer() from error

    async def record(self, pool: Pool) -> None:
        """Add a point to the pool's history, and read the waits of tenants, each half minute at most.

        A failure leaves a gap, and no loads of past days: they would keep a minimum up for ever.
        """
        now, address, snapshot = time.monotonic(), pool.queue.address, pool.queue.snapshot
        if address is None or snapshot is None or now < pool.queue.record_at or not self._leading():
            return
        pool.queue.record_at, pool.queue.tenant_waits = now + RECORD_SECONDS, {}
        try:
            async with asyncio.timeout(self._timeout_s):
                redis = self._connections.open(address).redis
                history, learns = PoolHistory(redis, pool.ref), _learns_patterns(pool)
                deployment = pool.deployment
                desired, ready = (deployment.replicas, deployment.ready) if deployment is not None else (None, None)
                await history.record(desired=desired, ready=ready, patterns=learns)
                waits = await longest_waits(redis, pool.ref, snapshot)
                pool.queue.tenant_waits = by_known_tenant(waits, pool.queue.known_tenants)
                if learns:
                    ahead_ms = int(seconds_ahead(pool.scaling.memory.learned.startup_s) * MS_PER_SECOND)
                    pool.queue.past_loads = await history.past_loads(snapshot.taken_at_ms + ahead_ms, DAYS_AGO)
        except (QueueError, TimeoutError) as error:
            log.debug("a point is missing in the history of %s: %s", pool.ref, type(error).__name__)
            pool.queue.past_loads = {}

    async def _connection_of(self, pool: Pool) -> RedisConnection | None:
        if pool.spec is None:
            return None
        try:
            address = await self._secrets.address(pool.ref, pool.spec)
            connection = self._connections.open(address, namespace=pool.ref.namespace)
        except SecretError as error:
            self._secrets.reread_soon(pool.ref, pool.spec)
            _set_unknown(pool, Problem(reason=error.reason, message=str(error)))
        except SettingError as error:
            _set_unknown(pool, Problem(reason="InvalidRedisURL", message=str(error)))
        except ClusterError as error:
            _set_unknown(pool, Problem(reason="SecretUnreadable", message=f"the Secret could not be read: {error}"))
        except Exception as error:  # noqa: BLE001 - one pool's address must not stop the others
            self._unexpected(pool, error)
        else:
            if pool.queue.address != address:
                pool.queue.address, pool.queue.published = address, ""
            return connection
        return None

    def _unexpected(self, pool: Pool, error: Exception) -> None:
        """Show an unexpected error in the pool's status, and retry with growing pauses."""
        pool.queue.pause_s = self._failures.note(pool.ref, error, doing=DOING)
        _set_unknown(pool, unexpected_problem(error, reason="QueueUnreadable", doing=DOING))

    async def _read_connection(self, connection: RedisConnection, pools: list[Pool]) -> None:
        """Read pools of a Redis together; after an unexpected failure, each alone."""
        try:
            await self._read_pipelined(connection, pools)
        except Exception as error:  # noqa: BLE001 - a server may answer anything
            if len(pools) == 1:
                self._unexpected(pools[0], error)
                return
            for pool in pools:
                await self._read_connection(connection, [pool])

    async def _read_pipelined(self, connection: RedisConnection, pools: list[Pool]) -> None:
        await asyncio.gather(*(self._publish(connection, pool) for pool in pools if not pool.queue.published))
        ready = [pool for pool in pools if pool.queue.published]
        if not ready:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await connection.inspector.snapshots([pool.ref for pool in ready])
        except TimeoutError:
            self._report_failure(connection, ready, self._no_answer())
        except QueueError as error:
            self._report_failure(connection, ready, error)
        else:
            if len(ready) > 1 and all(isinstance(outcome, QueueReplyError) for outcome in found.values()):
                for pool in ready:  # an oversized reply of a pool ends the connection, and with it all replies
                    await self._read_pipelined(connection, [pool])
                return
            await asyncio.gather(*(self._store(connection, pool, found[pool.ref]) for pool in ready))

    async def _publish(self, connection: RedisConnection, pool: Pool) -> None:
        """Publish the pool's note and settings; on failure the queue is unknown.

        In a queue of another cluster the settings of its AgentPool stay: two operators would overwrite each other's.
        """
        if pool.spec is None or not self._leading():
            return  # a suspended operator must not publish outdated settings
        settings = settings_of(pool.spec)
        missing = pool.queue.problem is not None and pool.queue.problem.reason == SETTINGS_MISSING
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._purger.note(connection, pool.ref, pool.uid, delete=settings.delete_with_pool)
                if missing or not self._purger.foreign_owner(connection.url, pool.ref):
                    await connection.inspector.configure(pool.ref, settings)
        except TimeoutError:
            self._report_failure(connection, [pool], self._no_answer())
        except QueueError as error:
            self._report_failure(connection, [pool], error)
        else:
            pool.queue.published = settings.revision

    def _no_answer(self) -> QueueUnreachableError:
        return QueueUnreachableError(
            f"no answer within {self._timeout_s:g} s", remedy="check the server and the network"
        )

    async def _store(self, connection: RedisConnection, pool: Pool, outcome: QueueSnapshot | QueueError) -> None:
        if isinstance(outcome, UnknownPoolError):
            pool.queue.published = ""  # the settings are gone: the next read publishes them again
            _set_unknown(pool, Problem(reason=SETTINGS_MISSING, message="the queue's settings are being published"))
            return
        if isinstance(outcome, QueueError):
            self._report_failure(connection, [pool], outcome)
            return
        try:
            plausibility.check(outcome)
            outcome = await self._survey(connection, pool, outcome)
        except QueueError as error:
            self._report_failure(connection, [pool], error)
            return
        pool.queue.backlog, pool.queue.snapshot = backlog_of(outcome), outcome
        pool.queue.foreign_owner = self._purger.foreign_owner(connection.url, pool.ref)
        pool.queue.problem, pool.queue.was_read, pool.queue.unread_since = None, True, None
        self._failures.reset(pool.ref)
        foreign = pool.queue.foreign_owner
        if pool.spec is not None and not foreign and outcome.settings_revision != settings_of(pool.spec).revision:
            await self._publish(connection, pool)

    async def _survey(self, connection: RedisConnection, pool: Pool, snapshot: QueueSnapshot) -> QueueSnapshot:
        """Return the snapshot with the jobs that limits let start; unchanged without an answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await connection.inspector.surveyed(pool.ref, snapshot)
        except (QueueError, TimeoutError) as error:
            log.debug("the waiting jobs of %s were not surveyed: %s", pool.ref, type(error).__name__)
            return snapshot

    def _report_failure(self, connection: RedisConnection, pools: list[Pool], error: QueueError) -> None:
        for pool in pools:
            if pool.spec is not None:
                self._secrets.reread_soon(pool.ref, pool.spec)
            address = pool.queue.address or connection.address  # the connection's namespace may differ
            _set_unknown(pool, _redis_problem(address, error))


def by_known_tenant(waits: Iterable[TenantWait], known: set[str]) -> dict[str, float]:
    """Return the seconds by tenant; beyond a number of tenants in `known`, which grows, further ones share a name."""
    found: dict[str, float] = {}
    for wait in waits:
        if len(known) < NAMED_TENANTS:
            known.add(wait.tenant)
        name = wait.tenant if wait.tenant in known else OTHER_TENANTS
        found[name] = max(found.get(name, 0.0), wait.ms / MS_PER_SECOND)
    return found


def _learns_patterns(pool: Pool) -> bool:
    return pool.spec is not None and pool.spec.scaling.learn_patterns


def _set_unknown(pool: Pool, problem: Problem) -> None:
    pool.queue.backlog, pool.queue.snapshot, pool.queue.problem = None, None, problem
    pool.queue.past_loads, pool.queue.record_at = {}, 0.0
    if pool.queue.unread_since is None:
        pool.queue.unread_since = time.monotonic()


def _redis_problem(address: Address, error: QueueError) -> Problem:
    if isinstance(error, QueueAccessError):
        remedy = "correct the Secret" if address.secret else "name a Secret in spec.queue.redis.passwordFrom"
        return Problem(
            reason="RedisAuthFailed",
            message=f"Redis at {address.place} refuses the credentials: {address.without_secret(error)}; {remedy}",
        )
    known = address.without_secret(error)
    return Problem(reason="RedisUnreachable", message=f"Redis at {address.place} cannot be read: {known}")


def _out_of_service(snapshot: QueueSnapshot) -> int:
    """Count the live workers that would leave an ordinary job waiting."""
    impeded = sum(bool(worker.note) for worker in snapshot.live_workers)
    alone = any(worker.name == snapshot.reserved and not worker.note for worker in snapshot.live_workers)
    return impeded + (alone and snapshot.queued > snapshot.quarantined)


def _oldest_wait_s(snapshot: QueueSnapshot) -> float | None:
    """Return the longest wait; a lost worker's jobs wait since the end of the lease. None = no job waits."""
    lost = [snapshot.taken_at_ms - worker.lease_expires_at_ms for worker in lost_workers(snapshot)]
    ready = [] if snapshot.oldest_wait_ms is None else [snapshot.oldest_wait_ms]
    return max([*lost, *ready]) / MS_PER_SECOND if lost or ready else None


def backlog_of(snapshot: QueueSnapshot) -> Backlog:
    """Return a snapshot as the decision's backlog; workers with an expired lease hold no running jobs."""
    return Backlog(
        routes=loads_of(snapshot),
        bounds=bounds_of(snapshot),
        held=snapshot.held,
        workers=tuple(WorkerLoad(name=w.name, slots=w.slots, running=w.running) for w in snapshot.live_workers),
        out_of_service=_out_of_service(snapshot),
        oldest_wait_s=_oldest_wait_s(snapshot),
        lost=lost_jobs(snapshot),
        counters=Counters(
            submitted=snapshot.submitted_total,
            started=snapshot.started_total,
            finished=snapshot.attempts_total,
            run_s=snapshot.run_ms_total / MS_PER_SECOND,
        ),
    )
