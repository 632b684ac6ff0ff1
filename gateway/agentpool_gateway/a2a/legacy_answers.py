"""Answers in the form of version 0.3, by the SDK's own conversions."""

from __future__ import annotations

from typing import cast

from a2a import types as pb
from a2a.compat.v0_3 import conversions
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from pydantic import BaseModel

from agentpool_core.documents import Document
from agentpool_core.jobs import Json
from agentpool_gateway.a2a.values import document_of, whole


def answer_of(found: Message) -> Json:
    """Return the document of an answer in the form of 0.3."""
    if isinstance(found, Empty):
        return None
    if isinstance(found, pb.ListTaskPushNotificationConfigsResponse):
        return [answer_of(config) for config in found.configs]
    if isinstance(found, pb.AgentCard):
        return with_legacy_fields(found)
    return _document(_converted(found))


def _document(model: BaseModel) -> Document:
    found: Document = whole(model.model_dump(mode="json", by_alias=True, exclude_none=True))
    return found


def _converted(found: Message) -> BaseModel:
    if isinstance(found, pb.StreamResponse):
        return conversions.to_compat_stream_response(found).result
    if isinstance(found, pb.TaskPushNotificationConfig):
        return conversions.to_compat_task_push_notification_config(found)
    if isinstance(found, pb.SendMessageResponse) and found.HasField("message"):
        return conversions.to_compat_message(found.message)
    task = found.task if isinstance(found, pb.SendMessageResponse) else found
    return conversions.to_compat_task(cast("pb.Task", task))


def with_legacy_fields(card: pb.AgentCard) -> Document:
    """Return a card with the fields of both versions: 0.3 knows one address and other names in security schemes."""
    return _merged(_document(conversions.to_compat_agent_card(card)), document_of(card))


def _merged(old_fields: Document, fields: Document) -> Document:
    found = old_fields | fields
    for name in old_fields.keys() & fields.keys():
        if isinstance(old_fields[name], dict) and isinstance(fields[name], dict):
            found[name] = _merged(old_fields[name], fields[name])
    return found
