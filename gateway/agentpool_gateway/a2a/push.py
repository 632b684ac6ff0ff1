"""Push notifications: a configuration is a webhook of the task's job, with messages in the protocol's own form.

The outbox of webhooks delivers notifications: signed, retried, and to allowed hosts only. A notification has the whole
task, after the end or at a question. Credentials and tokens of a configuration are never shown again.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from a2a.types import (
    AuthenticationInfo,
    ListTaskPushNotificationConfigsResponse,
    StreamResponse,
    TaskPushNotificationConfig,
)
from a2a.utils.constants import A2A_JSON_MEDIA_TYPE
from a2a.utils.errors import PushNotificationNotSupportedError, TaskNotFoundError

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.webhooks import ENDS, Change, Webhook
from agentpool_gateway.a2a import legacy_answers
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.reading import read_task
from agentpool_gateway.a2a.values import document_of
from agentpool_gateway.a2a.versions import LEGACY_VERSION
from agentpool_gateway.delivery.cloudevents import Content
from agentpool_gateway.routes.webhooks import checked, store_webhook

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId
    from agentpool_core.queue.webhooks import Message
    from agentpool_gateway.access.admission import Admission
    from agentpool_gateway.pools.queues import PoolQueue

FORMAT = "a2a"  # of webhooks
PREFIX = "a2a-"  # of their names
TOKEN_HEADER = "X-A2A-Notification-Token"  # noqa: S105  # a name
CHANGES = (*ENDS, Change.WAITING)
_DIGEST_CHARS = 32
_HEADER = re.compile(r"[ -~]{0,4096}")


def webhook_of(admission: Admission, config: TaskPushNotificationConfig, version: str) -> Webhook:
    """Return the webhook of a configuration. Raises PushNotificationNotSupportedError, or InvalidParamsError."""
    _check_enabled(admission)
    secrets = {"scheme": config.authentication.scheme, "credentials": config.authentication.credentials}
    for name, text in (secrets | {"token": config.token}).items():
        if not _HEADER.fullmatch(text):
            raise invalid(name, "not at most 4,096 printable ASCII characters")
    identity = config.id or _digest(config.url)  # the same for a repeated message
    options = secrets | {"token": config.token, "id": identity, "version": version}
    return checked(
        admission,
        Webhook(name=PREFIX + _digest(identity), url=config.url, changes=CHANGES, format=FORMAT, options=options),
    )


async def put_config(
    admission: Admission, job_id: JobId, config: TaskPushNotificationConfig, version: str
) -> TaskPushNotificationConfig:
    """Store a configuration with a task; return it. Raises UnknownJobError, and the errors of `webhook_of`."""
    webhook = webhook_of(admission, config, version)
    await store_webhook(admission, job_id, webhook)
    return _config_of(job_id, webhook)


async def get_config(admission: Admission, job_id: JobId, identity: str) -> TaskPushNotificationConfig:
    """Return a configuration. Raises UnknownJobError, TaskNotFoundError."""
    for webhook in await _webhooks(admission, job_id):
        if webhook.options["id"] == identity:
            return _config_of(job_id, webhook)
    raise TaskNotFoundError(f"task {job_id!r} has no push configuration {identity[:100]!r}", {"taskId": job_id})


async def list_configs(admission: Admission, job_id: JobId) -> ListTaskPushNotificationConfigsResponse:
    """Return all configurations of a task, a page: a job has a few webhooks. Raises UnknownJobError."""
    found = [_config_of(job_id, webhook) for webhook in await _webhooks(admission, job_id)]
    return ListTaskPushNotificationConfigsResponse(configs=found)


async def delete_config(admission: Admission, job_id: JobId, identity: str) -> None:
    """Delete a configuration, if there is one. Raises UnknownJobError."""
    if any(webhook.options["id"] == identity for webhook in await _webhooks(admission, job_id)):
        try:
            await admission.queue.webhooks.delete(job_id, PREFIX + _digest(identity))
        except InvalidJobError:  # deleted by a concurrent request
            return


async def write_push(queue: PoolQueue, message: Message) -> Content:
    """Return the message of a change: the task. Raises UnknownJobError."""
    task = await read_task(queue, await queue.inspector.job(queue.pool, message.job_id))
    options = message.webhook.options
    if options.get("version") == LEGACY_VERSION:
        document = legacy_answers.answer_of(task)
    else:
        document = document_of(StreamResponse(task=task))
    headers = {"Content-Type": A2A_JSON_MEDIA_TYPE}
    if options.get("token"):
        headers[TOKEN_HEADER] = options["token"]
    if options.get("scheme") and options.get("credentials"):
        headers["Authorization"] = f"{options['scheme']} {options['credentials']}"
    return Content(json.dumps(document, separators=(",", ":")).encode("ascii"), headers)


def _check_enabled(admission: Admission) -> None:
    if not admission.gateway.deliveries.enabled:
        raise PushNotificationNotSupportedError(
            "push notifications are not supported here: the gateway has no --webhook-host; stream the task or poll it"
        )


async def _webhooks(admission: Admission, job_id: JobId) -> list[Webhook]:
    _check_enabled(admission)
    found, _ = await admission.queue.webhooks.of_job(job_id)
    return [webhook for webhook in found if webhook.format == FORMAT and "id" in webhook.options]


def _config_of(job_id: JobId, webhook: Webhook) -> TaskPushNotificationConfig:
    config = TaskPushNotificationConfig(id=webhook.options["id"], task_id=job_id, url=webhook.url)
    if webhook.options.get("scheme"):
        config.authentication.CopyFrom(AuthenticationInfo(scheme=webhook.options["scheme"]))
    return config


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
