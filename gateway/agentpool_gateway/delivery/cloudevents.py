"""The format of webhooks: a CloudEvent (1.0, structured JSON) about a change of a job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

from agentpool_core.documents import summary_document
from agentpool_core.queue.webhooks import Message
from agentpool_gateway.pools.queues import PoolQueue

TYPE = "application/cloudevents+json"
PREFIX = "dev.agentpool.job."  # of the events' types


class Content(NamedTuple):
    """Body and headers of a message."""

    body: bytes
    headers: dict[str, str]


async def write_cloudevent(queue: PoolQueue, message: Message) -> Content:
    """Return the event: the job's record with its result, without payload and checkpoint. Raises UnknownJobError."""
    job = await queue.inspector.job(queue.pool, message.job_id)
    event = {
        "specversion": "1.0",
        "id": message.message_id(queue.pool),
        "source": f"/v1/namespaces/{queue.pool.namespace}/pools/{queue.pool.name}",
        "type": PREFIX + message.change.value,
        "subject": message.job_id,
        "time": datetime.fromtimestamp(message.change_ms / 1_000, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": summary_document(job, queue.pool) | {"result": job.result, "progress": job.progress},
    }
    body = json.dumps(event, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Content(body, {"Content-Type": TYPE})
