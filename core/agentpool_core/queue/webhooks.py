"""Webhooks of jobs, and the outbox: messages about changes of jobs that addresses outside asked for.

The script that changes a job puts the message into the outbox, so that a change and its message are stored together.
Any number of senders take due messages; each message is reserved for one of them for a while, and is due again if the
sender dies. A message may therefore arrive twice, with the same id. The gateway's `delivery` package sends messages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import InvalidJobError, UnknownJobError
from agentpool_core.jobs import JobId
from agentpool_core.process.cancellation import results_of
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.layout import DeliveryText, read_delivery
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient

MOST_WEBHOOKS = 5  # of a job
PUT_AT_ONCE = 500  # webhooks of a call for many jobs
OF_SUBMIT = "submit"  # name of the webhook that a submit brings
MOST_DEFINITION_BYTES = 8 * 1024
LONGEST_ANSWER = 200  # characters of a receiver's answer that are kept
NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
CLOUDEVENTS = "cloudevents"
_NAME = re.compile(NAME_PATTERN)
_MESSAGE = re.compile(r"(\S+) (\S+) (\S+) (\d{1,15})", re.ASCII)


class UnknownWebhookError(InvalidJobError):
    """The job has no webhook of that name."""

    def __init__(self, name: str) -> None:
        problem, remedy = "no such webhook of the job", "list the job's webhooks for their names"
        super().__init__(field="name", value=name, problem=problem, remedy=remedy)


class Change(StrEnum):
    """A change of a job that a webhook may ask for."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    WAITING = "waiting"  # for a signal or a time


ENDS = (Change.SUCCEEDED, Change.FAILED, Change.CANCELLED, Change.EXPIRED)


class DeliveryOutcome(StrEnum):
    """Outcome of the latest try to deliver a message."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    FAILED = "failed"  # given up


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """An address that receives a message about changes of a job."""

    name: str  # unique within the job
    url: str
    changes: tuple[Change, ...] = ENDS
    format: str = CLOUDEVENTS  # names the code that writes the message
    options: Mapping[str, Any] = field(default_factory=dict)  # of the format: JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """State of a message to a webhook, after its latest try. Times are milliseconds of the Redis clock."""

    webhook: str
    change: Change
    change_ms: int
    outcome: DeliveryOutcome
    tries: int
    at_ms: int  # of the latest try
    answer: str  # of the receiver, or the error of the connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message of the outbox, reserved for its sender."""

    key: str  # in the outbox
    job_id: JobId
    webhook: Webhook
    change: Change
    change_ms: int
    tries: int  # before this one

    def message_id(self, pool: PoolRef) -> str:
        """Return the id of the message, the same at each try."""
        return "msg_" + hashlib.sha256(f"{pool} {self.key}".encode()).hexdigest()[:32]


class Webhooks:
    """The webhooks and the outbox of a pool."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self.pool = pool
        self._redis = redis
        self._keys = Keys(pool)

    async def put(self, job_id: JobId, webhook: Webhook) -> None:
        """Add or replace a webhook of a job; an ended job gets its message at once.

        Raises UnknownJobError, and the errors of `definition_of`. The caller checks the address.
        """
        definition = definition_of(webhook)
        changes = ",".join(change.value for change in webhook.changes)
        args = ("put", job_id, webhook.name, changes, definition, MOST_WEBHOOKS)
        reply = await scripts.HOOK.run(self._redis, self._keys.conf, args)
        self._check(reply, job_id, webhook.name)

    async def put_all(self, found: Sequence[tuple[JobId, Webhook]]) -> None:
        """Put webhooks of many jobs, in slices of `PUT_AT_ONCE`. Raises the errors of `put`."""
        for start in range(0, len(found), PUT_AT_ONCE):
            await results_of(self.put(job_id, webhook) for job_id, webhook in found[start : start + PUT_AT_ONCE])

    async def delete(self, job_id: JobId, name: str) -> None:
        """Remove a webhook; messages that wait are dropped. Raises UnknownJobError or UnknownWebhookError."""
        self._check(await scripts.HOOK.run(self._redis, self._keys.conf, ("delete", job_id, name)), job_id, name)

    async def redeliver(self, job_id: JobId, name: str) -> int:
        """Send the messages of a webhook that were given up again; return their number. Their tries begin again.

        Raises UnknownJobError, UnknownWebhookError, or InvalidJobError for a webhook without such a message.
        """
        reply = await scripts.HOOK.run(self._redis, self._keys.conf, ("redeliver", job_id, name))
        self._check(reply, job_id, name)
        with Reading("hook"):
            again = int(reply[1])
        if not again:
            problem, remedy = "no message of this webhook was given up", "read the outcomes of the job's deliveries"
            raise InvalidJobError(field="name", value=name, problem=problem, remedy=remedy)
        return again

    async def of_job(self, job_id: JobId) -> tuple[list[Webhook], list[Delivery]]:
        """Return the webhooks of a job, and the state of their messages. Raises UnknownJobError."""
        key = self._keys.job(job_id)
        state, hooks = await ask(self._redis, "HMGET", key, "state", "hooks")
        if not state:
            raise UnknownJobError(str(self.pool), job_id)
        pairs = [pair.partition("=")[::2] for pair in (hooks or "").split()]
        if not pairs:
            return [], []
        changes = [(name, change) for name, _ in pairs for change in Change]
        fields = [f"hook:{name}" for name, _ in pairs] + [f"sent:{name}={change}" for name, change in changes]
        values = await ask(self._redis, "HMGET", key, *fields)
        with Reading("hmget"):
            definitions = zip((name for name, _ in pairs), values, strict=False)
            webhooks = [hook for name, text in definitions if (hook := _webhook(name, text or ""))]
            texts = zip(changes, values[len(pairs) :], strict=True)
            return webhooks, [sent for at, text in texts if (sent := _delivery(*at, text))]

    async def take(self, *, limit: int, reserve_ms: int) -> list[Message]:
        """Return at most `limit` due messages, reserved for the caller for `reserve_ms`."""
        rows = await scripts.OUTBOX.run(self._redis, self._keys.conf, (limit, reserve_ms))
        with Reading("outbox"):
            return [found for row in rows if (found := _message(*row))]

    async def report(self, message: Message, outcome: DeliveryOutcome, answer: str, *, retry_after_ms: int = 0) -> None:
        """Record a try; a message that is retried is due again after `retry_after_ms`."""
        answer = " ".join(answer.split())[:LONGEST_ANSWER]
        args = (message.key, outcome.value, message.tries + 1, answer, retry_after_ms)
        await scripts.DELIVERED.run(self._redis, self._keys.conf, args)

    def _check(self, reply: Any, job_id: JobId, name: str) -> None:
        if reply == ["unknown"]:
            raise UnknownJobError(str(self.pool), job_id)
        if reply[0] == "absent":
            raise UnknownWebhookError(name)
        if reply[0] == "too_many":
            problem, remedy = f"the job has {MOST_WEBHOOKS} webhooks", "delete a webhook first"
            raise InvalidJobError(field="name", value=name, problem=problem, remedy=remedy)


def definition_of(webhook: Webhook) -> str:
    """Return the stored form. Raises InvalidJobError for a name, changes or options that cannot be used."""
    if not _NAME.fullmatch(webhook.name):
        remedy = "use 1 to 63 lower-case letters, digits or '-', beginning and ending with a letter or digit"
        raise InvalidJobError(field="name", value=webhook.name, problem="not a webhook's name", remedy=remedy)
    if not webhook.changes:
        remedy = f"name some of {', '.join(Change)}"
        raise InvalidJobError(field="changes", value=[], problem="no change is named", remedy=remedy)
    found = json.dumps({"url": webhook.url, "format": webhook.format, "options": dict(webhook.options),
                        "changes": list(webhook.changes)})  # fmt: skip
    if len(found) > MOST_DEFINITION_BYTES:
        problem = f"{len(found)} bytes as JSON, more than {MOST_DEFINITION_BYTES}"
        raise InvalidJobError(field="webhook", value=webhook.name, problem=problem, remedy="shorten its options")
    return found


def _webhook(name: str, text: str) -> Webhook | None:
    """Return the webhook of a stored definition; None for a text that this version cannot use."""
    try:
        found = json.loads(text)
        return Webhook(
            name=name,
            url=str(found["url"]),
            changes=tuple(map(Change, found["changes"])),
            format=str(found["format"]),
            options=dict(found["options"]),
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _delivery(name: str, change: Change, text: str | None) -> Delivery | None:
    parts = read_delivery(text or "")
    return parts and Delivery(
        webhook=name,
        change=change,
        change_ms=parts.change_ms,
        outcome=DeliveryOutcome(parts.outcome),
        tries=parts.tries,
        at_ms=parts.at_ms,
        answer=parts.answer,
    )


def _message(key: str, definition: str, sent: str) -> Message | None:
    """Return a message of the outbox; None for texts that this version cannot use: it stays as long as its job."""
    parts = _MESSAGE.fullmatch(key)
    if parts is None or parts[3] not in set(Change) or (webhook := _webhook(parts[2], definition)) is None:
        return None
    before: DeliveryText | None = read_delivery(sent)
    tries = before.tries if before is not None and before.change_ms == int(parts[4]) else 0
    return Message(
        key=key,
        job_id=JobId(parts[1]),
        webhook=webhook,
        change=Change(parts[3]),
        change_ms=int(parts[4]),
        tries=tries,
    )
