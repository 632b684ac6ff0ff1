"""A message as the request of a job. Pure.

A repeated message, with the same caller, id and content, gets the same task. Clients reuse an id for different content,
so the idempotency key is a digest of all three. `metadata` is free; the key `agentpool.dev/job` has the fields of the
job.
"""

from __future__ import annotations

import hashlib
import json
import uuid

from a2a.types import SendMessageRequest
from google.protobuf.json_format import MessageToDict

from agentpool_core.documents import Document, request_from
from agentpool_core.jobs import JobRequest, Json
from agentpool_core.queue import PoolSettings
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.tasks import NAMESPACE
from agentpool_gateway.a2a.values import document_of, whole

KIND = "message"  # of a job for a message without a kind
_NOT_FOR_SENDERS = ("payload", "job_id")  # the payload is the message, and the agent names the tasks


def kinds_of(settings: PoolSettings) -> list[str]:
    """Return the kinds that the pool's routes list, in order."""
    return list(dict.fromkeys(kind for route in settings.routes for kind in route.kinds))


def default_kind(settings: PoolSettings) -> str:
    """Return the kind of a message without a kind: the only kind of a strict pool, else `message`."""
    kinds = kinds_of(settings)
    return kinds[0] if settings.refuse_unlisted_kinds and len(kinds) == 1 else KIND


def job_request(params: SendMessageRequest, *, caller: str, kind: str) -> JobRequest:
    """Return the job of a message. Raises InvalidParamsError, or InvalidJobError naming the option."""
    message = document_of(params.message)
    identity = _identity(caller, message, document_of(params.metadata))
    message.setdefault("contextId", str(uuid.uuid5(uuid.NAMESPACE_OID, identity)))  # the same for a repeated message
    payload = {"message": message}
    if params.HasField("metadata"):
        payload["metadata"] = document_of(params.metadata)
    return request_from({"kind": kind, "idempotency_key": identity, **_options(params), "payload": payload})


def _identity(*parts: Json) -> str:
    return "a2a " + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def _options(params: SendMessageRequest) -> Document:
    """Return the fields of a job in the metadata; the message's fields override the request's."""
    options: Document = {}
    for place, metadata in (("metadata", params.metadata), ("message.metadata", params.message.metadata)):
        field = f"{place}[{NAMESPACE!r}]"
        found = whole(MessageToDict(metadata)).get(NAMESPACE, {})
        if not isinstance(found, dict):
            raise invalid(field, 'not an object; send fields of a job, as in {"kind": "greet"}')
        for name in _NOT_FOR_SENDERS:
            if name in found:
                raise invalid(f"{field}.{name}", "not a field for senders; leave it out")
        options |= found
    return options
