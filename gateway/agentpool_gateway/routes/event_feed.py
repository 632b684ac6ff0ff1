"""The feed of a pool's events for a stream: events, silences, and the end.

A silence is reported because a stream can send a comment then, which keeps proxies from closing the stream. The
caller's token and permission are checked again while the stream is open. `events` and the A2A streams turn a feed into
text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from agentpool_core.errors import AgentPoolError
from agentpool_core.process.cancellation import end
from agentpool_gateway.access.rechecks import wait_until_refused

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

T = TypeVar("T")
log = logging.getLogger(__name__)
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
SILENCE = ": still here\n\n"  # a comment, which readers of a stream ignore


async def feed_events(admission: Admission, events: AsyncIterator[T]) -> AsyncGenerator[T | None, None]:
    """Yield events, and None after each `heartbeat_s` of silence.

    Ends with the events and with the gateway. Raises the refusal when the caller loses the permission.
    """
    ready: asyncio.Queue[T | None] = asyncio.Queue(maxsize=1)
    refusal: list[AgentPoolError] = []

    async def feed() -> None:
        try:
            async for event in events:
                await ready.put(event)
        except AgentPoolError as error:  # the missed events cannot be read; the client resumes by the last id
            log.warning("an event stream ends: %s", type(error).__name__)
        await ready.put(None)

    async def watch() -> None:
        refused = await admission.gateway.draining.unless_closing(wait_until_refused(admission))
        await end(feeder)
        refusal.extend([refused] if refused else [])
        await ready.put(None)

    feeder = asyncio.create_task(feed())
    watcher = asyncio.create_task(watch())
    try:
        while True:
            try:
                async with asyncio.timeout(admission.gateway.settings.heartbeat_s):
                    event = await ready.get()
            except TimeoutError:
                yield None
                continue
            if refusal:
                raise refusal[0]
            if event is None:
                return
            yield event
    finally:
        feeder.cancel()  # both at once: a client that went away interrupts every wait here
        watcher.cancel()
        await end(watcher)
        await end(feeder)
