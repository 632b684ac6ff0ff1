"""The schemas of a worker's handlers and the settings of its pool: published by hand, or compared with the AgentPool's.

A pool with an operator has the schemas of its AgentPool alone: during a rollout two versions of a program run, and the
last one to start would decide. A pool without an operator gets them from its workers, as long as its other settings are
the defaults. `worker` registers first, and takes the settings that are returned here.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.errors import HandlerError, QueueAccessError, QueueMemoryError
from agentpool_core.kind_documents import schema_in
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.settings import DEFAULT_ROUTE, JobSchema, PoolSettings, Route

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_worker.handlers import HandlerSet

log = logging.getLogger(__name__)
_OUTSIDE = PoolSettings()  # of a pool without an operator, but for kinds and schemas


async def publish_schemas(
    redis: RedisClient, pool: PoolRef, found: PoolSettings, handlers: HandlerSet, *, by_hand: bool
) -> PoolSettings:
    """Return the pool's settings with the schemas of the handlers, where this worker may publish them.

    Elsewhere the log names the kinds that the pool describes differently. Raises a QueueError.
    """
    try:
        own = handlers.schemas()
    except HandlerError as error:
        log.warning("no schemas of the handlers are published: %s", error)
        return found
    if by_hand:
        return await _publish(redis, pool, found, settings_with(found, own, handlers.kinds))
    if kinds := [schema.kinds[0] for schema in own if not _is_published(schema, found)]:
        log.warning(
            "the AgentPool does not publish the models of %s, so submits are not checked by them; "
            "`agentpool schemas APP` prints its spec.routes",
            ", ".join(kinds),
        )
    return found


async def _publish(redis: RedisClient, pool: PoolRef, found: PoolSettings, wanted: PoolSettings) -> PoolSettings:
    """Publish the settings; if Redis refuses them, the worker works without: a full queue has to drain."""
    if wanted == found:
        return found
    try:
        await Inspector(redis).configure(pool, wanted)
    except (QueueAccessError, QueueMemoryError) as error:
        log.warning("the schemas of the handlers are not published: %s", error)
        return found
    return wanted


def settings_with(found: PoolSettings, own: tuple[JobSchema, ...], kinds: tuple[str, ...] | None) -> PoolSettings:
    """Return the settings with the schemas of a worker that runs `kinds`, beside those of kinds of other workers.

    Settings that somebody else has published are returned as they are, and so are those for handlers of any kind.
    """
    if kinds is None or replace(found, routes=(), schemas=()) != _OUTSIDE or len(found.routes) > 1:
        return found
    others = tuple(schema for schema in found.schemas if not {*schema.kinds} & {*kinds})
    schemas = tuple(sorted((*others, *own), key=lambda schema: schema.kinds))
    described = tuple(kind for schema in schemas for kind in schema.kinds)
    return replace(found, routes=(Route(name=DEFAULT_ROUTE, kinds=described),), schemas=schemas)


def _is_published(schema: JobSchema, found: PoolSettings) -> bool:
    """Return whether the pool has the same schemas, as JSON values: an API server may write numbers differently."""
    published = found.schema_of(schema.kinds[0])
    pairs = ((schema.input, published.input), (schema.output, published.output))
    return all(schema_in(own) == schema_in(there) for own, there in pairs)
