"""A message as the request of a job, or as the answer to a job that asks for input. Pure.

A repeated message, with the same caller, id and content, gets the same task, as long as the answer may have been lost.
The sender knows a task that was continued or cancelled, so after that the message is a new one. Clients reuse an id for
different content, so the idempotency key is a digest of all three. `metadata` is free; the key `agentpool.dev/job` has
the fields of the job. The payload of a kind with a schema is the content of the message's only part.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from a2a.types import SendMessageRequest
from google.protobuf.json_format import MessageToDict

from agentpool_core.documents import Document, request_from
from agentpool_core.jobs import JobId, JobRequest, Json
from agentpool_core.queue import PoolSettings
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.tasks import NAMESPACE
from agentpool_gateway.a2a.values import document_of, whole

KIND = "message"  # of a job for a message without a kind
FOLLOW_UP = "message"  # signal of a job that waits for the next message
NOT_FOR_SENDERS = ("payload", "job_id")  # the payload is the message, and the agent names the tasks


def kinds_of(settings: PoolSettings) -> list[str]:
    """Return the kinds that the pool's routes list, in order."""
    return list(dict.fromkeys(kind for route in settings.routes for kind in route.kinds))


def default_kind(settings: PoolSettings) -> str:
    """Return the kind of a message without a kind: the only kind of a strict pool, else `message`."""
    kinds = kinds_of(settings)
    return kinds[0] if settings.refuse_unlisted_kinds and len(kinds) == 1 else KIND


def job_request(
    params: SendMessageRequest, *, caller: str, settings: PoolSettings, closed: Sequence[JobId] = ()
) -> JobRequest:
    """Return the job of a message. `closed`: earlier tasks of the same message, which its sender has closed.

    Raises InvalidParamsError, or InvalidJobError naming the option.
    """
    options = _options(params)
    kind = options.setdefault("kind", default_kind(settings))
    message = document_of(params.message)
    identity = _identity(caller, message, document_of(params.metadata), *closed)
    if isinstance(kind, str) and settings.schema_of(kind).input is not None:
        payload = _described_payload(params, message)
    else:
        context = str(uuid.uuid5(uuid.NAMESPACE_OID, identity))  # the same for a repeated message
        payload = _whole_of(params, message | {"contextId": message.get("contextId", context)})
    return request_from({"idempotency_key": identity, **options, "payload": payload})


def _described_payload(params: SendMessageRequest, message: Document) -> Json:
    """Return the payload of a kind with a schema: the data or text of the message."""
    if params.message.context_id:
        raise invalid("message.contextId", "a kind with a schema takes data without a context; leave it out")
    return _content_of({"message": message})


def _whole_of(params: SendMessageRequest, message: Document) -> Document:
    """Return the message with the metadata of the request, if there are any."""
    metadata = {"metadata": document_of(params.metadata)} if params.HasField("metadata") else {}
    return {"message": message, **metadata}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A message to a task that asks for input."""

    signal: str | None  # that the sender names; None: the one for which the task waits
    signal_id: str  # the same for a repeated message
    whole: Document  # in the form of a payload
    content: Json  # of the message alone: the data or text of its only part, or else as `whole`


def answer_of(params: SendMessageRequest, *, caller: str, context: str) -> Answer:
    """Return the answer in a message. Raises InvalidParamsError for an option that only a new job has."""
    options = _options(params)
    signal = options.pop("signal", None)
    for name in options:
        raise invalid(f"message.metadata[{NAMESPACE!r}].{name}", "not a field of a follow-up; only signal is")
    message = document_of(params.message)
    signal_id = _identity(caller, message, document_of(params.metadata))
    whole_message = _whole_of(params, message | {"contextId": context})
    return Answer(signal=signal, signal_id=signal_id, whole=whole_message, content=_content_of(whole_message))


def _content_of(found: Document) -> Json:
    parts = found["message"]["parts"]
    names = [name for name in ("data", "text") if name in parts[0]]
    return parts[0][names[0]] if len(parts) == 1 and names else found


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
        for name in NOT_FOR_SENDERS:
            if name in found:
                raise invalid(f"{field}.{name}", "not a field for senders; leave it out")
        options |= found
    return options
