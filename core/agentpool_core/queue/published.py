"""A pool's settings as its queue has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import UnknownPoolError
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.formats import check_format
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.settings import PoolSettings

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient


async def published_settings(redis: RedisClient, pool: PoolRef) -> PoolSettings:
    """Return the published settings. Raises UnknownPoolError for a pool without settings, NewerFormatError."""
    reply = await ask(redis, "HGETALL", Keys(pool).conf)
    if not reply:
        raise UnknownPoolError(str(pool))
    with Reading("hgetall"):
        conf = fields_of(reply)
        check_format(pool, conf)
        return PoolSettings.from_mapping(conf)
