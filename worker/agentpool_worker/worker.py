"""The life of a worker: `await Worker(app, redis=…, pool=…).run()`, in its own process or inside a user's program.

Start: prepare the handlers, register (which takes out the lease), start the side loop, claim. End: drain, deliver
completions, deregister, stop the side loop. The lease is renewed until the very end, so that no job is recovered
elsewhere while it is being requeued. `agentpool_worker.wiring` builds the parts; `agentpool_worker.runner` adds
signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError, QueueUnreachableError, SettingError, UnknownPoolError
from agentpool_core.process.cancellation import end
from agentpool_core.queue.connection.client import connect
from agentpool_core.queue.consumer import Consumer
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.settings import PoolSettings
from agentpool_worker.guards.forks import ForkGuard
from agentpool_worker.publication import publish_schemas
from agentpool_worker.settings import VERSION, settings_from, variable_of
from agentpool_worker.slots.gpu import open_reader
from agentpool_worker.supervision import lifeline
from agentpool_worker.supervision.lifeline import Phase
from agentpool_worker.supervision.previous_exit import PreviousExit, describe_end, explains
from agentpool_worker.telemetry.health import HealthServer, Probes
from agentpool_worker.wiring import CLIENT_NAME, Parts

if TYPE_CHECKING:
    import socket

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_worker.handlers import HandlerSet
    from agentpool_worker.settings import WorkerSettings
    from agentpool_worker.slots.gpu import GpuReader

log = logging.getLogger(__name__)

_START_POLL_SECONDS = 0.25
_USUAL_START_SECONDS = 3.0  # to prepare and register; the first probe waits as long, below the probes' timeout of 5 s
_DEREGISTER_SECONDS = 1.0  # to give up the lease of a cancelled registration
_BY_HAND = {variable_of("http_host"): "127.0.0.1", variable_of("http_port"): "0"}  # many workers may run on a machine
DELIVER_SECONDS = 5.0  # for the last completions to reach Redis


class Worker:
    """Claims and runs jobs of a pool until asked to leave."""

    def __init__(
        self,
        handlers: HandlerSet,
        settings: WorkerSettings | None = None,
        *,
        redis: str | None = None,
        pool: PoolRef | str | None = None,
        gpu_reader: GpuReader | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._handlers = handlers
        by_hand = pool is not None  # possibly without an operator that publishes the settings
        environ = _BY_HAND | os.environ if by_hand else os.environ
        self._settings = settings or settings_from(
            environ, redis_url=redis, pool=pool, publish_defaults=by_hand or None
        )
        self._reader = gpu_reader
        self._listening = listening  # for the probes; None: opened here
        self._unready = "starting"  # the reason, before serving
        self.ends_process = False  # whether the worker may end the process, which has no other purpose
        self._asked_to_leave = 0  # times, before there was anything to leave
        self._beginning: asyncio.Task[PoolSettings] | None = None  # while preparing and registering
        self.parts: Parts | None = None  # None before registering; for metrics and tests
        self.complaint: str | None = None  # reason for leaving, if unable to run jobs
        self.exit_code = 0  # of the process that runs this worker, after an orderly end

    def leave(self) -> None:
        """Drain, as on SIGTERM. A second call requeues running jobs at once. Only for calls in the event loop."""
        if self.parts is not None:
            self.parts.drain.begin()
            return
        self._asked_to_leave += 1
        if self._beginning is not None:
            self._beginning.cancel()

    async def run(self) -> None:
        """Work until `leave` was called and the last job is finished or requeued; when cancelled, requeue now.

        Raises SettingError, HandlerError, UnknownPoolError or QueueUnreachableError when it cannot start, and
        QueueError when completions could not be delivered; when cancelled, it raises CancelledError and logs the rest.
        """
        redis = connect(self._settings.redis_url, client_name=CLIENT_NAME)
        try:
            try:
                pool = await self._prepare(redis)
                if pool is not None:
                    await self._live(redis, pool)
            finally:
                await self._handlers.stop()
        finally:
            await redis.aclose()

    async def _prepare(self, redis: RedisClient) -> PoolSettings | None:
        """Return the pool's settings after preparation and registration; None if asked to leave earlier."""
        if not self._asked_to_leave:
            beginning = self._beginning = asyncio.create_task(self._begin(redis))
            try:
                return await beginning
            except asyncio.CancelledError:
                if not self._is_ended_by_leave():
                    raise
            finally:
                self._beginning = None
        log.info("worker %s was asked to leave before it served", self._settings.worker)
        return None

    def _is_ended_by_leave(self) -> bool:
        """Return whether the cancellation comes from `leave`, not from the surrounding program or from within."""
        current = asyncio.current_task()
        return self._asked_to_leave > 0 and current is not None and not current.cancelling()

    async def _begin(self, redis: RedisClient) -> PoolSettings:
        lifeline.mark(Phase.WAITING)
        answering = asyncio.create_task(self._answer_probes())
        try:
            await self._handlers.start()
            return await self._register_unless_cancelled(redis)
        finally:
            await end(answering)

    async def _answer_probes(self) -> None:
        """Be alive and not ready while the start takes unusually long, until the worker serves.

        A usual start answers no probe before the worker is ready, so that no readiness probe fails. The next server
        reports a port that cannot be opened.
        """
        await asyncio.sleep(_USUAL_START_SECONDS)
        probes = Probes(
            stuck=lambda: None, unready=lambda: self._unready, staying=lambda: "the worker starts", busy=lambda: None
        )
        settings = self._settings
        with contextlib.suppress(SettingError):
            await HealthServer(
                host=settings.http_host,
                port=settings.http_port,
                probes=probes,
                metrics=None,
                listening=self._listening,
            ).run()

    async def _register_unless_cancelled(self, redis: RedisClient) -> PoolSettings:
        consumer = Consumer(
            redis, self._settings.pool, self._settings.worker, kinds=self._handlers.kinds, version=VERSION
        )
        try:
            return await self._register(redis, consumer)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError, QueueError):
                await asyncio.wait_for(consumer.deregister(), _DEREGISTER_SECONDS)
            raise

    async def _live(self, redis: RedisClient, pool: PoolSettings) -> None:
        reader = self._reader or open_reader()
        parts = self.parts = Parts(
            handlers=self._handlers,
            settings=self._settings,
            pool=pool,
            redis=redis,
            reader=reader,
            ends_process=self.ends_process,
            listening=self._listening,
        )
        forks = ForkGuard((redis, parts.side_redis))
        try:
            await self._work(parts)
        finally:
            forks.close()
            parts.watchdog.close()
            parts.running_jobs.close()
            parts.buffer.close()
            await parts.side.stop()
            if reader is not None:
                reader.close()

    async def _register(self, redis: RedisClient, consumer: Consumer) -> PoolSettings:
        """Take out the lease; wait a while for Redis and for the pool's settings."""
        settings = self._settings
        waits_for = ""
        give_up_at = time.monotonic() + settings.patience_seconds
        while True:
            try:
                # A process of this name may have ended before, such as on a container restart: this lease would hide
                # the loss of its jobs.
                previous = PreviousExit.from_environment()
                taken = await consumer.report_crash(
                    describe_end(previous, settings.worker), explained=explains(previous)
                )
                if taken:
                    log.warning("the previous process ended with %d running jobs, which run again", taken)
                found = await consumer.register(slots=settings.concurrency or 1, host=settings.host)
                return await publish_schemas(
                    redis, settings.pool, found, self._handlers, by_hand=settings.publish_defaults
                )
            except UnknownPoolError:
                missing = f"pool {settings.pool} has no settings yet"
                if settings.publish_defaults:
                    log.warning("%s; a worker without an operator publishes the defaults", missing)
                    await Inspector(redis).configure(settings.pool, PoolSettings())
                    continue
                if time.monotonic() > give_up_at:
                    raise
            except QueueUnreachableError as error:
                missing = f"Redis does not answer: {error}"
                if time.monotonic() > give_up_at:
                    raise
            if missing != waits_for:
                waits_for = self._unready = missing
                log.info("waiting up to %g s: %s", settings.patience_seconds, missing)
            await asyncio.sleep(_START_POLL_SECONDS)

    async def _work(self, parts: Parts) -> None:
        claiming = asyncio.create_task(parts.claims.run())
        listening = asyncio.create_task(parts.listener.run())
        begun = asyncio.create_task(parts.drain.begun.wait())
        parts.side.start()
        lifeline.mark(Phase.SERVING)
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
            await self._leave(parts, listening, at_once=bool(broken))
            for service in broken:
                service.result()
        except asyncio.CancelledError:  # the surrounding program ends
            await self._leave(parts, listening, at_once=True)
            raise
        finally:
            await asyncio.gather(end(claiming), end(listening), end(begun))

    async def _leave(self, parts: Parts, listening: asyncio.Task[None], *, at_once: bool) -> None:
        """Drain and give up the lease. `at_once`: the caller reports a different reason for the end."""
        if at_once:
            parts.drain.hurry()
        await parts.drain.run(parts.drain_seconds)
        await end(listening)  # before the end of the lease: the bell of the deregistration is for other workers
        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                await parts.claims.wait_for_answers()  # the answer may bring jobs, which are requeued
                await parts.buffer.wait_empty()
                await parts.side.ask(parts.heartbeat.retire)
                await parts.consumer.deregister()
        except (TimeoutError, QueueError) as error:
            left = parts.buffer.undelivered
            log.error("%d finished jobs could not be delivered: %s", left, error)  # noqa: TRY400 - one line is enough
            if left and not at_once:
                raise QueueUnreachableError(
                    f"{left} finished jobs could not be delivered before the end, so they run again in other workers"
                ) from error
        ended = ", ".join(f"{count} {outcome}" for outcome, count in parts.metrics.outcomes().items())
        log.info("worker %s has left; attempts: %s", self._settings.worker, ended or "none")
        self.exit_code = parts.drain.exit_code
        await parts.wait_for_neighbours()
        if parts.fitness.complaint is not None:
            self.complaint = f"worker {self._settings.worker} ended because it {parts.fitness.complaint}"
            log.error("%s", self.complaint)
