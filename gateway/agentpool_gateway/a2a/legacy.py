"""Version 0.3 of the protocol, translated from and to 1.0 by the SDK's own conversions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from a2a import types as pb
from a2a.compat.v0_3 import conversions
from a2a.compat.v0_3 import types as old
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from agentpool_core.documents import Document
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.methods import OPERATIONS, Operation
from agentpool_gateway.a2a.values import UNFIT, document_of, whole


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyMethod:
    """A method of 0.3: its request, and the operation of 1.0 that serves it."""

    operation: Operation
    model: type[BaseModel] | None = None  # None: the operation only refuses
    convert: Callable[[Any], Message] | None = None

    def params(self, call: Document) -> Message:
        """Return the request of 1.0. Raises InvalidParamsError naming the field."""
        if self.model is None or self.convert is None:
            return self.operation.request()
        try:
            return self.convert(self.model.model_validate({"id": None, **call}))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise invalid(".".join(map(str, first["loc"])), first["msg"]) from error
        except UNFIT as error:
            raise invalid("params", "a value that the protocol cannot hold") from error


def _send_request(request: old.SendMessageRequest) -> pb.SendMessageRequest:
    """Convert a message; 0.3 waits only if asked to."""
    found = conversions.to_core_send_message_request(request)
    configuration = request.params.configuration
    found.configuration.return_immediately = configuration is None or configuration.blocking is not True
    return found


LEGACY: Mapping[str, LegacyMethod] = {
    "message/send": LegacyMethod(
        operation=OPERATIONS["SendMessage"], model=old.SendMessageRequest, convert=_send_request
    ),
    "message/stream": LegacyMethod(
        operation=OPERATIONS["SendStreamingMessage"], model=old.SendStreamingMessageRequest, convert=_send_request
    ),
    "tasks/get": LegacyMethod(
        operation=OPERATIONS["GetTask"], model=old.GetTaskRequest, convert=conversions.to_core_get_task_request
    ),
    "tasks/cancel": LegacyMethod(
        operation=OPERATIONS["CancelTask"],
        model=old.CancelTaskRequest,
        convert=conversions.to_core_cancel_task_request,
    ),
    "tasks/resubscribe": LegacyMethod(
        operation=OPERATIONS["SubscribeToTask"],
        model=old.TaskResubscriptionRequest,
        convert=conversions.to_core_subscribe_to_task_request,
    ),
    "tasks/pushNotificationConfig/set": LegacyMethod(operation=OPERATIONS["CreateTaskPushNotificationConfig"]),
    "tasks/pushNotificationConfig/get": LegacyMethod(operation=OPERATIONS["GetTaskPushNotificationConfig"]),
    "tasks/pushNotificationConfig/list": LegacyMethod(operation=OPERATIONS["ListTaskPushNotificationConfigs"]),
    "tasks/pushNotificationConfig/delete": LegacyMethod(operation=OPERATIONS["DeleteTaskPushNotificationConfig"]),
    "agent/getAuthenticatedExtendedCard": LegacyMethod(operation=OPERATIONS["GetExtendedAgentCard"]),
}


def answer_of(found: Message) -> Document:
    """Return the document of an answer in the form of 0.3."""
    return _document(_converted(found))


def _document(model: BaseModel) -> Document:
    found: Document = whole(model.model_dump(mode="json", by_alias=True, exclude_none=True))
    return found


def _converted(found: Message) -> BaseModel:
    if isinstance(found, pb.StreamResponse):
        return conversions.to_compat_stream_response(found).result
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
