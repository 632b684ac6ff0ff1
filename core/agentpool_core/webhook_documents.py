"""Webhooks and their deliveries as JSON documents, for the HTTP API. `documents` has those of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentpool_core.document_fields import check_fields, read_text, read_texts
from agentpool_core.documents import Document
from agentpool_core.jobs import Json
from agentpool_core.queue.webhooks import ENDS, OF_SUBMIT, Change, Delivery, Webhook, definition_of
from agentpool_core.submission import choice_of


def webhook_document(webhook: Webhook) -> Document:
    """Return a webhook of a job, without the options of its format: they may be secret."""
    return {
        "name": webhook.name,
        "url": webhook.url,
        "changes": [change.value for change in webhook.changes],
        "format": webhook.format,
    }


def take_webhook(document: Json) -> tuple[Json, Webhook | None]:
    """Return the document of a submit without its webhook, and the webhook. Raises InvalidJobError."""
    if not isinstance(document, dict) or document.get("webhook") is None:
        return document, None
    rest = {name: value for name, value in document.items() if name != "webhook"}
    return rest, webhook_of(document["webhook"])


def webhook_of(value: str | Mapping[str, Any] | Json) -> Webhook:
    """Return the webhook that a submit brings: a URL, or an object with url and changes. Raises InvalidJobError."""
    webhook = webhook_from(OF_SUBMIT, {"url": value} if isinstance(value, str) else value)
    definition_of(webhook)
    return webhook


def webhook_from(name: str, document: Json) -> Webhook:
    """Return the webhook of a document. Raises InvalidJobError naming the field."""
    fields = check_fields("webhook", document, ("url", "changes"), 'send an object such as {"url": "https://…"}')
    changes = read_texts("changes", fields.get("changes", list(ENDS)))
    read_change = choice_of(Change)
    return Webhook(
        name=name,
        url=read_text("url", fields.get("url")),
        changes=tuple(read_change("changes", change) for change in changes),
    )


def delivery_document(delivery: Delivery) -> Document:
    """Return the state of a message to a webhook."""
    return {
        "webhook": delivery.webhook,
        "change": delivery.change.value,
        "changed_at_ms": delivery.change_ms,
        "outcome": delivery.outcome.value,
        "tries": delivery.tries,
        "tried_at_ms": delivery.at_ms,
        "answer": delivery.answer,
    }
