"""Version 0.3 of the protocol, translated from and to 1.0 by the SDK's own conversions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from a2a import types as pb
from a2a.compat.v0_3 import conversions
from a2a.compat.v0_3 import types as old
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from agentpool_core.documents import Document
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.methods import OPERATIONS, Operation
from agentpool_gateway.a2a.values import UNFIT
from agentpool_gateway.a2a.versions import LEGACY_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyMethod:
    """A method of 0.3: its request, and the operation of 1.0 that serves it."""

    operation: Operation
    model: type[BaseModel]
    convert: Callable[[Any], Message]

    def params(self, call: Document) -> Message:
        """Return the request of 1.0. Raises InvalidParamsError naming the field."""
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


def _speaking_legacy(name: str) -> Operation:
    """Return an operation with push notifications in the form of 0.3."""
    call: Callable[..., Awaitable[Any]] = OPERATIONS[name].call
    return replace(OPERATIONS[name], call=partial(call, version=LEGACY_VERSION))


LEGACY: Mapping[str, LegacyMethod] = {
    "message/send": LegacyMethod(
        operation=_speaking_legacy("SendMessage"), model=old.SendMessageRequest, convert=_send_request
    ),
    "message/stream": LegacyMethod(
        operation=_speaking_legacy("SendStreamingMessage"), model=old.SendStreamingMessageRequest, convert=_send_request
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
    "tasks/pushNotificationConfig/set": LegacyMethod(
        operation=_speaking_legacy("CreateTaskPushNotificationConfig"),
        model=old.SetTaskPushNotificationConfigRequest,
        convert=conversions.to_core_create_task_push_notification_config_request,
    ),
    "tasks/pushNotificationConfig/get": LegacyMethod(
        operation=OPERATIONS["GetTaskPushNotificationConfig"],
        model=old.GetTaskPushNotificationConfigRequest,
        convert=conversions.to_core_get_task_push_notification_config_request,
    ),
    "tasks/pushNotificationConfig/list": LegacyMethod(
        operation=OPERATIONS["ListTaskPushNotificationConfigs"],
        model=old.ListTaskPushNotificationConfigRequest,
        convert=conversions.to_core_list_task_push_notification_config_request,
    ),
    "tasks/pushNotificationConfig/delete": LegacyMethod(
        operation=OPERATIONS["DeleteTaskPushNotificationConfig"],
        model=old.DeleteTaskPushNotificationConfigRequest,
        convert=conversions.to_core_delete_task_push_notification_config_request,
    ),
    "agent/getAuthenticatedExtendedCard": LegacyMethod(
        operation=OPERATIONS["GetExtendedAgentCard"],
        model=old.GetAuthenticatedExtendedCardRequest,
        convert=lambda _request: pb.GetExtendedAgentCardRequest(),
    ),
}
