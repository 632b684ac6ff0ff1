"""The loop that delivers: for each pool, take due messages of the outbox, send them, report the outcome.

All replicas of the gateway run the loop; the outbox reserves each message for a single replica. Each pool has its own
task and a bound of messages in flight, so an unreachable Redis or a slow receiver of a pool delays no other pool.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from agentpool_core.errors import AgentPoolError, UnknownJobError
from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import end
from agentpool_core.queue.webhooks import DeliveryOutcome, Message
from agentpool_gateway.delivery.cloudevents import Content
from agentpool_gateway.delivery.destinations import Destinations
from agentpool_gateway.delivery.sending import Sender, Sent
from agentpool_gateway.delivery.signing import SigningKeys
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.pools.queues import PoolQueue, Queues
from agentpool_gateway.settings import GatewaySettings

Format: TypeAlias = Callable[[PoolQueue, Message], Awaitable[Content]]
IN_FLIGHT = 32  # messages of a pool at once
RESERVE_FACTOR = 4  # of the time limit of a message: longer than a send with its report takes
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 3_600.0
GROWTH = 4  # of the time between tries
MOST_TRIES = 15  # over about ten hours
FIRST_POLL_SECONDS = 0.25  # after a message; an idle pool is asked less and less often
NAMES_SECONDS = 5.0  # between two looks for new pools
log = logging.getLogger(__name__)


class Deliveries:
    """Delivery for all pools of a gateway."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        queues: Queues,
        metrics: Metrics,
        formats: Mapping[str, Format],
        keys: SigningKeys | None,
        sender: Sender | None = None,
    ) -> None:
        self.destinations = Destinations.parse(settings.webhook_hosts, settings.webhook_networks)
        self.keys = keys
        self._settings = settings
        self._queues = queues
        self._metrics = metrics
        self._formats = formats
        self._sender = sender or Sender(self.destinations, timeout_s=settings.webhook_timeout_s)
        self._pools: dict[PoolRef, asyncio.Task[None]] = {}
        self._wakes: dict[PoolRef, asyncio.Event] = {}

    @property
    def enabled(self) -> bool:
        """Whether the gateway delivers."""
        return bool(self.destinations.hosts) and self.keys is not None

    def check(self, url: str) -> None:
        """Raise InvalidJobError for a URL to which the gateway does not send, or if it delivers nothing."""
        (self.destinations if self.keys is not None else Destinations()).check(url)

    def wake(self, pool: PoolRef) -> None:
        """Look at a pool's outbox soon: one of its jobs has a new webhook."""
        if pool in self._wakes:
            self._wakes[pool].set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        if not self.enabled:
            return
        try:
            while True:
                await self._start_new_pools()
                await asyncio.sleep(NAMES_SECONDS)
        finally:
            for task in self._pools.values():
                task.cancel()
            for task in self._pools.values():
                await end(task)
            await self._sender.close()

    async def _start_new_pools(self) -> None:
        try:
            names = set(await self._queues.names())
        except AgentPoolError as error:
            log.warning("webhooks: the pools cannot be listed: %s", error)
            return
        for pool in self._pools.keys() - names:
            await end(self._pools.pop(pool))
            await self._sender.forget(pool)
            del self._wakes[pool]
        for pool in names - self._pools.keys():
            self._wakes[pool] = asyncio.Event()
            self._pools[pool] = asyncio.create_task(self._run_pool(pool), name=f"webhooks of {pool}")

    async def _run_pool(self, pool: PoolRef) -> None:
        """Deliver for a pool until cancelled. The end of a message makes room for the next."""
        pause_s, sends = FIRST_POLL_SECONDS, set[asyncio.Task[None]]()
        try:
            while True:
                new = await self._start_due(pool, most=IN_FLIGHT - len(sends))
                for send in new:
                    sends.add(send)
                    send.add_done_callback(sends.discard)
                    send.add_done_callback(lambda _: self.wake(pool))
                pause_s = FIRST_POLL_SECONDS if new else min(2 * pause_s, self._settings.webhook_poll_s)
                if await self._woken(pool, pause_s):
                    pause_s = FIRST_POLL_SECONDS
        finally:
            for send in tuple(sends):
                await end(send)

    async def _start_due(self, pool: PoolRef, *, most: int) -> list[asyncio.Task[None]]:
        """Take at most so many due messages of a pool, and begin to send them."""
        if most == 0:
            return []
        try:
            queue = await self._queues.of(pool)
            reserve_ms = round(RESERVE_FACTOR * self._settings.webhook_timeout_s * 1_000)
            messages = await queue.webhooks.take(limit=most, reserve_ms=reserve_ms)
        except AgentPoolError as error:
            log.warning("webhooks of %s: %s", pool, error)
            return []
        except Exception:  # a server may answer anything; the pool's webhooks must go on
            log.exception("webhooks of %s", pool)
            return []
        return [asyncio.create_task(self._deliver(queue, message), name=message.key) for message in messages]

    async def _woken(self, pool: PoolRef, pause_s: float) -> bool:
        """Wait at most `pause_s` seconds; return whether `wake` ended the wait."""
        event = self._wakes[pool]
        try:
            async with asyncio.timeout(pause_s):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    async def _deliver(self, queue: PoolQueue, message: Message) -> None:
        """Send a message and report the outcome. A message that cannot be reported is due again later."""
        try:
            sent = await self._send(queue, message)
            tries = message.tries + 1
            if sent.ok:
                outcome = DeliveryOutcome.DELIVERED
            else:
                final = sent.final or tries >= MOST_TRIES
                outcome = DeliveryOutcome.FAILED if final else DeliveryOutcome.RETRYING
            after_ms = round(1_000 * max(retry_s(tries), sent.retry_after_s))
            await queue.webhooks.report(message, outcome, sent.answer, retry_after_ms=after_ms)
        except AgentPoolError as error:
            log.warning("webhook %s of job %s: %s", message.webhook.name, message.job_id, error)
            return
        except Exception:  # of a format; other messages go on, and this one is due again
            log.exception("webhook %s of job %s", message.webhook.name, message.job_id)
            return
        self._metrics.webhooks.labels(queue.pool.namespace, queue.pool.name, outcome.value).inc()
        if outcome is not DeliveryOutcome.DELIVERED:
            text = "pool %s, job %s, webhook %s, %s: try %d: %s: %s"
            named = (queue.pool, message.job_id, message.webhook.name, message.change.value)
            log.warning(text, *named, tries, outcome.value, sent.answer)

    async def _send(self, queue: PoolQueue, message: Message) -> Sent:
        write = self._formats.get(message.webhook.format)
        if write is None or self.keys is None:
            return Sent(ok=False, answer=f"this gateway has no format {message.webhook.format[:50]!r}")
        try:
            content = await write(queue, message)
        except UnknownJobError:
            return Sent(ok=False, answer="the job has been deleted", final=True)
        signed = self.keys.headers(queue.pool, message.message_id(queue.pool), int(time.time()), content.body)
        return await self._sender.send(queue.pool, message.webhook.url, content.body, {**content.headers, **signed})


def retry_s(tries: int) -> float:
    """Return the seconds until the next try: 5, 20, 80, … up to an hour, ±20 %."""
    plain: float = min(FIRST_RETRY_SECONDS * GROWTH ** min(tries - 1, 10), LONGEST_RETRY_SECONDS)
    return plain * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
