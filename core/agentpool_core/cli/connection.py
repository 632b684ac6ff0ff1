"""Bridge between synchronous click commands and the asynchronous queue: an event loop and an open Redis.

An unreachable Redis is reported at once: the time limits of the queue's connections suit programs that run for weeks.
Ctrl-C ends the loop cleanly; the command line's root turns it into exit code 130.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from agentpool_core.errors import QueueUnreachableError

if TYPE_CHECKING:
    from agentpool_core.cli.target import Target
    from agentpool_core.queue.connection.client import RedisClient

Result = TypeVar("Result")
REACH_SECONDS = 5.0  # for Redis to answer a command's first question


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine to the end."""
    return asyncio.run(work)


@asynccontextmanager
async def open_redis(target: Target) -> AsyncIterator[RedisClient]:
    """Yield the target's Redis, which has answered; close it after the block. Raises QueueUnreachableError."""
    redis = await target.connect()
    try:
        await reach(redis)
        yield redis
    finally:
        await redis.aclose()


async def reach(redis: RedisClient) -> None:
    """Return once Redis answers.

    Raises QueueUnreachableError, within `REACH_SECONDS`, or QueueAccessError for a wrong password.
    """
    from redis.exceptions import NoPermissionError

    from agentpool_core.queue.connection.error_translation import Asking

    try:
        async with asyncio.timeout(REACH_SECONDS):
            with Asking("connect"), contextlib.suppress(NoPermissionError):  # an answer suffices here
                await redis.execute_command("PING")
    except TimeoutError as error:
        raise QueueUnreachableError(
            f"Redis did not answer within {REACH_SECONDS:g} s",
            remedy="check that Redis runs and that the URL is correct",
        ) from error
