"""The messages that the gateway sends, as OpenAPI `webhooks`: ends of jobs, and push notifications of A2A. Data only.

`description` includes them. `delivery` and `a2a.push` write the messages.
"""

from __future__ import annotations

from typing import Any

from agentpool_core.queue.webhooks import Change
from agentpool_gateway.agent_schemas import A2A_DOCUMENT
from agentpool_gateway.openapi import A2A_TYPE, parameter
from agentpool_gateway.schemas import ANYTHING, SUMMARY, TEXT, Schema, record

NOTICE: Schema = record(**SUMMARY["properties"], result=ANYTHING, progress=ANYTHING)
CLOUD_EVENT: Schema = record(
    specversion={"type": "string", "const": "1.0"},
    id=TEXT | {"description": "The same at each try: the header webhook-id."},
    source=TEXT | {"description": "Path of the pool."},
    type={"type": "string", "enum": [f"dev.agentpool.job.{change}" for change in Change]},
    subject=TEXT | {"description": "The job's id."},
    time={"type": "string", "format": "date-time", "description": "Of the change."},
    datacontenttype={"type": "string", "const": "application/json"},
    data=NOTICE | {"description": "The job's record, without payload and checkpoint."},
)


def _header(name: str, description: str) -> dict[str, Any]:
    return parameter("header", name, description=description) | {"required": True}


_SIGNATURE = [
    _header("webhook-id", "The same at each try of a message."),
    _header("webhook-timestamp", "Seconds since 1970 of the try; refuse a time older than five minutes."),
    _header("webhook-signature", "Of Standard Webhooks: one for each secret of the pool, separated by spaces."),
]


def _message(name: str, text: str, media: str, schema: Schema, *more: dict[str, Any]) -> dict[str, Any]:
    return {
        "post": {
            "operationId": name,
            "summary": text,
            "description": f"{text}.\n\nA message is signed, and tried again until it is delivered or given up.",
            "tags": ["webhooks"],
            "security": [],
            "parameters": [*_SIGNATURE, *more],
            "requestBody": {"required": True, "content": {media: {"schema": schema}}},
            "responses": {
                "2XX": {"description": "Delivered."},
                "410": {"description": "Ends the tries. After any other answer the message is tried again."},
            },
        }
    }


WEBHOOKS: dict[str, Any] = {
    "jobChanged": _message(
        "jobChanged", "The change of a job that its webhook asks for", "application/cloudevents+json", CLOUD_EVENT
    ),
    "taskChanged": _message(
        "taskChanged",
        "The task of a push notification of A2A, at a question and at the end",
        A2A_TYPE,
        A2A_DOCUMENT,
        parameter("header", "X-A2A-Notification-Token", description="The token of the configuration, if any."),
    ),
}
