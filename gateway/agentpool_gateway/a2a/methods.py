"""The operations of A2A 1.0 on a pool, independent of their binding.

`OPERATIONS` has each operation by JSON-RPC name. An operation takes the protocol's request and returns the protocol's
answer, or an open stream. `jsonrpc` and `rest` call them after admission, which reads their verbs in `access.table`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from a2a import types as pb
from a2a.utils.errors import TaskNotCancelableError
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from agentpool_core.documents import Document
from agentpool_core.errors import UnknownJobError
from agentpool_core.jobs import Job, JobId, Receipt
from agentpool_core.queue.webhook_submits import Submission
from agentpool_core.queue.webhooks import Webhook
from agentpool_gateway.a2a import push
from agentpool_gateway.a2a.card import read_card
from agentpool_gateway.a2a.follow_ups import deliver, ended
from agentpool_gateway.a2a.listing import list_tasks
from agentpool_gateway.a2a.messages import job_request
from agentpool_gateway.a2a.reading import read_task
from agentpool_gateway.a2a.streams import Updates, follow, follow_new, open_stream, single_update
from agentpool_gateway.a2a.tasks import bare_task, closed_by_sender, history_length_of, reply_of
from agentpool_gateway.a2a.values import document_of, parsed
from agentpool_gateway.a2a.versions import CURRENT
from agentpool_gateway.access.admission import Admission
from agentpool_gateway.access.conflicts import check_conflicts
from agentpool_gateway.routes.long_polling import job_after, job_at_rest

MOST_REPEATS = 100  # of a message after its sender has closed the tasks
CANCEL_WAIT_SECONDS = 5.0  # for a running job to end after its cancellation; most do within milliseconds


async def send_message(
    admission: Admission, params: pb.SendMessageRequest, *, version: str = CURRENT
) -> pb.SendMessageResponse:
    """Submit a message; wait until the task ends or asks for input, unless the caller asks for an immediate return."""
    receipt = await _submit(admission, params, version)
    if not await admission.may_read():
        return pb.SendMessageResponse(task=bare_task(receipt.job_id, receipt.state))
    wait_s = 0.0 if params.configuration.return_immediately else admission.gateway.settings.max_wait_s
    job = await job_at_rest(admission, receipt.job_id, wait_s)
    if not params.message.task_id and (reply := reply_of(job)):
        return pb.SendMessageResponse(message=reply)
    history_length = history_length_of(params.configuration)
    return pb.SendMessageResponse(task=await read_task(admission.queue, job, history_length=history_length))


async def send_streaming_message(
    admission: Admission, params: pb.SendMessageRequest, *, version: str = CURRENT
) -> Updates:
    """Submit a message and follow the task."""
    if await admission.may_read():
        history_length = history_length_of(params.configuration)
        return await open_stream(follow_new(admission, partial(_submit, admission, params, version), history_length))
    receipt = await _submit(admission, params, version)
    return single_update(bare_task(receipt.job_id, receipt.state))


async def get_task(admission: Admission, params: pb.GetTaskRequest) -> pb.Task:
    """Return a task."""
    history_length = history_length_of(params)
    return await read_task(admission.queue, await _job(admission, params.id), history_length=history_length)


async def cancel_task(admission: Admission, params: pb.CancelTaskRequest) -> pb.Task:
    """Cancel a task; return it canceled, or still working if its handler takes longer to stop."""
    job_id = _id_of(admission, params.id)
    outcome = await admission.queue.producer.cancel(job_id)
    if outcome.value == "finished":
        raise TaskNotCancelableError(f"task {job_id!r} had ended before", {"taskId": job_id})
    if await admission.may_read():
        wait_s = min(CANCEL_WAIT_SECONDS, admission.gateway.settings.max_wait_s)
        return await read_task(admission.queue, await job_after(admission, job_id, wait_s))
    job = await admission.queue.inspector.job(admission.pool, job_id)
    return bare_task(job_id, job.state)


async def subscribe_to_task(admission: Admission, params: pb.SubscribeToTaskRequest) -> Updates:
    """Follow a task that has not ended."""
    job = await _job(admission, params.id)
    if job.state.terminal:
        raise ended(job)
    return await open_stream(follow(admission, job.job_id))


async def create_push_config(
    admission: Admission, params: pb.TaskPushNotificationConfig, *, version: str = CURRENT
) -> pb.TaskPushNotificationConfig:
    """Store a configuration of push notifications with a task."""
    return await push.put_config(admission, _id_of(admission, params.task_id), params, version)


async def get_push_config(
    admission: Admission, params: pb.GetTaskPushNotificationConfigRequest
) -> pb.TaskPushNotificationConfig:
    """Return a configuration of push notifications, without its secrets."""
    return await push.get_config(admission, _id_of(admission, params.task_id), params.id)


async def list_push_configs(
    admission: Admission, params: pb.ListTaskPushNotificationConfigsRequest
) -> pb.ListTaskPushNotificationConfigsResponse:
    """Return the configurations of push notifications of a task."""
    return await push.list_configs(admission, _id_of(admission, params.task_id))


async def delete_push_config(admission: Admission, params: pb.DeleteTaskPushNotificationConfigRequest) -> Empty:
    """Delete a configuration of push notifications; a deleted configuration is no error."""
    await push.delete_config(admission, _id_of(admission, params.task_id), params.id)
    return Empty()


async def get_extended_card(admission: Admission, _params: pb.GetExtendedAgentCardRequest) -> pb.AgentCard:
    """Return the card with limits and options, which are for readers of the pool."""
    return await read_card(admission, extended=True)


async def _submit(admission: Admission, params: pb.SendMessageRequest, version: str) -> Receipt:
    history_length_of(params.configuration)
    config = params.configuration.task_push_notification_config
    hook = None
    if params.configuration.HasField("task_push_notification_config"):
        hook = push.webhook_of(admission, config, version)  # refuses before anything is submitted
    if params.message.task_id:
        receipt = await deliver(admission, params, _id_of(admission, params.message.task_id))
    else:
        receipt = await _submit_once(admission, params, hook)
        admission.gateway.metrics.count_submitted(admission.pool, [receipt])
    if hook is not None:
        await push.put_config(admission, receipt.job_id, config, version)
    return receipt


async def _submit_once(admission: Admission, params: pb.SendMessageRequest, hook: Webhook | None) -> Receipt:
    """Submit the job of a message; return the receipt of the first job for a repeated message."""
    inspector, caller = admission.queue.inspector, admission.request.caller.name
    settings = await inspector.settings(admission.pool)
    closed: list[JobId] = []
    while True:
        request = job_request(params, caller=caller, settings=settings, closed=closed[-1:])
        await check_conflicts(admission, [Submission(request, hook)])
        receipt = await admission.queue.producer.submit(request)
        if not receipt.duplicate or len(closed) >= MOST_REPEATS:
            return receipt
        if not closed_by_sender(await inspector.job(admission.pool, receipt.job_id)):
            return receipt
        closed.append(receipt.job_id)


async def _job(admission: Admission, task_id: str) -> Job:
    return await admission.queue.inspector.job(admission.pool, _id_of(admission, task_id))


def _id_of(admission: Admission, task_id: str) -> JobId:
    """Return the id of a task's job; ids are printable ASCII. Raises UnknownJobError."""
    if not task_id.isascii() or not task_id.isprintable():
        raise UnknownJobError(str(admission.pool), task_id[:100])
    return JobId(task_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """An operation, with the type of its request."""

    request: Callable[[], Message]
    call: Callable[[Admission, Any], Awaitable[Any]]
    streams: bool = False  # the answer is a stream

    def params(self, document: Document) -> Message:
        """Return the request. Raises InvalidParamsError naming the fields."""
        found = parsed(document, self.request())
        validate_proto_required_fields(found)
        return found


OPERATIONS: Mapping[str, Operation] = {
    "SendMessage": Operation(request=pb.SendMessageRequest, call=send_message),
    "SendStreamingMessage": Operation(request=pb.SendMessageRequest, call=send_streaming_message, streams=True),
    "GetTask": Operation(request=pb.GetTaskRequest, call=get_task),
    "ListTasks": Operation(request=pb.ListTasksRequest, call=list_tasks),
    "CancelTask": Operation(request=pb.CancelTaskRequest, call=cancel_task),
    "SubscribeToTask": Operation(request=pb.SubscribeToTaskRequest, call=subscribe_to_task, streams=True),
    "CreateTaskPushNotificationConfig": Operation(request=pb.TaskPushNotificationConfig, call=create_push_config),
    "GetTaskPushNotificationConfig": Operation(request=pb.GetTaskPushNotificationConfigRequest, call=get_push_config),
    "ListTaskPushNotificationConfigs": Operation(
        request=pb.ListTaskPushNotificationConfigsRequest, call=list_push_configs
    ),
    "DeleteTaskPushNotificationConfig": Operation(
        request=pb.DeleteTaskPushNotificationConfigRequest, call=delete_push_config
    ),
    "GetExtendedAgentCard": Operation(request=pb.GetExtendedAgentCardRequest, call=get_extended_card),
}


def answer_of(found: Message) -> Document:
    """Return the document of an answer; the fields of a list are there even if they are empty."""
    if isinstance(found, pb.ListTasksResponse):
        return {"tasks": [], "nextPageToken": "", "pageSize": 0, "totalSize": 0, **document_of(found)}
    return document_of(found)
