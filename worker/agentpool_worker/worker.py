"""One worker's life: `await Worker(app, redis=…, pool=…).run()`, in a process of its own or inside a user's.

It begins: prepare the handlers, register (which takes out the lease), start the side loop, claim. It ends: drain,
deliver what has ended, deregister, stop the side loop. The lease is renewed until the very end, so that nothing is
taken back that is about to be handed back.
Who takes over next: `agentpool_worker.assembly` builds the parts; `agentpool_worker.runner` adds signals.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from agentpool.cancellation import end
from agentpool.errors import QueueError, QueueUnreachableError, UnknownPoolError
from agentpool.queue.connection import connect
from agentpool.queue.consumer import Consumer
from agentpool.queue.inspect import Inspector
from agentpool.queue.settings import PoolSettings
from agentpool_worker.assembly import CLIENT_NAME, Parts
from agentpool_worker.forks import ForkGuard
from agentpool_worker.gpu import open_reader
from agentpool_worker.settings import settings_from

if TYPE_CHECKING:
    from agentpool.jobs import PoolRef
    from agentpool.queue.connection import RedisClient
    from agentpool_worker.gpu import GpuReader
    from agentpool_worker.handlers import HandlerSet
    from agentpool_worker.settings import WorkerSettings

log = logging.getLogger(__name__)

_START_SECONDS = 10.0  # for Redis to answer, and for the operator to publish the pool, before the worker gives up
_START_POLL_SECONDS = 0.25
DELIVER_SECONDS = 5.0  # for the last completions to reach Redis


class Worker:
    """Claims and runs jobs of one pool until told to leave."""

    def __init__(
        self,
        handlers: HandlerSet,
        settings: WorkerSettings | None = None,
        *,
        redis: str | None = None,
        pool: PoolRef | str | None = None,
        gpu_reader: GpuReader | None = None,
    ) -> None:
        self._handlers = handlers
        self._settings = settings or settings_from(os.environ, redis_url=redis, pool=pool)
        self._reader = gpu_reader
        self._asked_to_leave = 0  # times, before there was anything to leave
        self.parts: Parts | None = None  # None before registering; for metrics and tests

    def leave(self) -> None:
        """As SIGTERM does: drain. The second call hands running jobs back at once. Call it in the event loop."""
        if self.parts is None:
            self._asked_to_leave += 1
        else:
            self.parts.drain.begin()

    async def run(self) -> None:
        """Works until `leave` was called and the last job is finished or handed back.

        Raises SettingError, HandlerError, UnknownPoolError or QueueUnreachableError when it cannot begin, and
        QueueError when what has ended could not be delivered.
        """
        redis = connect(self._settings.redis_url, client_name=CLIENT_NAME)
        try:
            await self._handlers.start()
            try:
                await self._live(redis)
            finally:
                await self._handlers.stop()
        finally:
            await redis.aclose()

    async def _live(self, redis: RedisClient) -> None:
        pool = await self._register(redis)
        reader = self._reader or open_reader()
        parts = self.parts = Parts(
            handlers=self._handlers, settings=self._settings, pool=pool, redis=redis, reader=reader
        )
        forks = ForkGuard((redis, parts.side_redis))
        try:
            await self._work(parts)
        finally:
            forks.close()
            parts.watchdog.close()
            parts.roster.close()
            parts.flusher.close()
            await parts.side.stop()
            if reader is not None:
                reader.close()

    async def _register(self, redis: RedisClient) -> PoolSettings:
        """Takes out the lease; waits a while for Redis and for the pool's settings."""
        settings = self._settings
        consumer = Consumer(redis, settings.pool, settings.worker)
        give_up_at = time.monotonic() + _START_SECONDS
        while True:
            try:
                await consumer.register(slots=settings.concurrency or 1, host=settings.host)
                # A process of this name may have been killed before us, as when a pod's container restarts: our lease
                # would keep its jobs from being taken for lost, so they are given up before we begin.
                await consumer.deregister()
                return await consumer.register(slots=settings.concurrency or 1, host=settings.host)
            except UnknownPoolError:
                if settings.publish_defaults:
                    log.info("pool %s has no settings yet: publishing defaults", settings.pool)
                    await Inspector(redis).configure(settings.pool, PoolSettings())
                    continue
                if time.monotonic() > give_up_at:
                    raise
            except QueueUnreachableError:
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(_START_POLL_SECONDS)

    async def _work(self, parts: Parts) -> None:
        claiming = asyncio.create_task(parts.claims.run())
        listening = asyncio.create_task(parts.listener.run())
        begun = asyncio.create_task(parts.drain.begun.wait())
        parts.side.start()
        parts.claims.start_claiming()
        settings, slots = self._settings, parts.slots.total
        log.info("worker %s serves pool %s with %d slots", settings.worker, settings.pool, slots)
        for _ in range(self._asked_to_leave):
            parts.drain.begin()
        try:
            services: tuple[asyncio.Future[None], ...] = (claiming, listening, parts.side.failed)
            waited: list[asyncio.Future[Any]] = [*services, begun]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            broken = [service for service in services if service.done()]
            await self._leave(parts, listening, broken=bool(broken))
            for service in broken:
                service.result()
        finally:
            await asyncio.gather(end(claiming), end(listening), end(begun))

    async def _leave(self, parts: Parts, listening: asyncio.Task[None], *, broken: bool) -> None:
        if broken:  # a part of the worker itself has failed: others should run its jobs, at once
            parts.drain.begin()
            parts.drain.begin()
        await parts.drain.run(parts.drain_seconds)
        await end(listening)  # before the lease goes: the bell that deregistering rings is for others
        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                await parts.flusher.wait_empty()
                await parts.side.ask(parts.heartbeat.retire)
                await parts.consumer.deregister()
        except (TimeoutError, QueueError) as error:
            left = parts.flusher.undelivered
            log.error("%d finished jobs could not be delivered: %s", left, error)  # noqa: TRY400 - one line is enough
            if left and not broken:
                raise QueueUnreachableError(
                    f"{left} finished jobs could not be delivered before leaving; they will run again elsewhere"
                ) from error
        log.info("worker %s has left: %s", self._settings.worker, parts.metrics.outcomes())
