"""From a click command, which is synchronous, to the queue, which is not: an event loop and an open Redis.

Ctrl-C ends the loop cleanly; the command line's root turns it into exit code 130.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from agentpool.commands.target import Target
    from agentpool.queue.connection import RedisClient

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a command's work to its end."""
    return asyncio.run(work)


@asynccontextmanager
async def opened(target: Target) -> AsyncIterator[RedisClient]:
    """The target's Redis. It connects with the first command, and closes with the block."""
    from agentpool.queue.connection import connect

    redis = connect(await target.redis_url())
    try:
        yield redis
    finally:
        await redis.aclose()
