"""The schemas of a pool's payloads, as its submitters know them.

A submit names the digest of the schema that its payload fits. The submit script compares the digest with the pool's
settings and refuses any other, so that a schema holds for every client from the moment of its publication, without a
read before each submit. The producer reads the schemas when the script refuses a digest, and before it refuses a
payload itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agentpool_core.errors import InvalidJobError, QueueReplyError
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.settings import schema_digest, schemas_of
from agentpool_core.text import one_line

if TYPE_CHECKING:
    from agentpool_core.jobs import JobRequest
    from agentpool_core.queue.connection.client import RedisClient


class PayloadSchemas:
    """The schemas of payloads, by kind, as last read."""

    def __init__(self, redis: RedisClient, conf: str) -> None:
        self._redis = redis
        self._conf = conf
        self._by_kind: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read the schemas. Raises a QueueError."""
        reply = await ask(self._redis, "HMGET", self._conf, "schemas")
        with Reading("hmget"):
            schemas = schemas_of(reply[0] or "[]")
        self._by_kind = {kind: schema.input for schema in schemas if schema.input for kind in schema.kinds}

    async def check(self, request: JobRequest, payload: str) -> str:
        """Return the digest of the schema that a payload, as JSON, fits; "" for a kind without a known schema.

        Raises SchemaMismatchError if the payload does not fit the schema that the pool has now, or InvalidJobError if
        that schema cannot be used.
        """
        try:
            return self.fitting(request.kind, payload)
        except InvalidJobError:
            known = self._by_kind.get(request.kind)
            await self.refresh()
            if self._by_kind.get(request.kind) == known:  # a check may take a second
                raise
            return self.fitting(request.kind, payload)

    def fitting(self, kind: str, payload: str) -> str:
        """As `check`, by the schemas as last read."""
        schema = self._by_kind.get(kind)
        if schema is None:
            return ""
        check_value("payload", schema, json.loads(payload))
        return schema_digest(schema)


def check_value(field: str, schema: str, value: object) -> None:
    """Raise SchemaMismatchError, a subclass of InvalidJobError, for a value that does not fit a published schema."""
    from agentpool_core.json_schema import SchemaError, checker_of  # 60 ms, for pools with schemas only

    try:
        checker_of(schema).check(field, value)
    except SchemaError as error:  # published by a different version
        raise InvalidJobError(
            field=field,
            value=None,
            problem=f"the schema of its kind cannot be used: {one_line(error)}",
            remedy="correct the schema in the routes of the AgentPool",
        ) from error


def unsettled() -> QueueReplyError:
    """Return the error for a queue that refuses the digest of the schema that it has published."""
    return QueueReplyError(doing="submit", problem="the schemas of the pool change while they are read")
