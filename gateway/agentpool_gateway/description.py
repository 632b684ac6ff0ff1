"""The API's description as a whole: the names of its schemas, and for each route the patterns and the verb.

`openapi` has the parts of single routes, `message_descriptions` the messages. `app` calls `complete`, and FastAPI
serves the result as `/openapi.json`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from agentpool_core.jobs import POOL_PART_PATTERN
from agentpool_core.queue.codec.requests import ID_PATTERN
from agentpool_core.queue.schedule import NAME_PATTERN
from agentpool_gateway import (
    agent_schemas,
    message_descriptions,
    schedule_schemas,
    schemas,
    selector_schemas,
    view_schemas,
)
from agentpool_gateway.access import table

SECURITY = {"bearer": {"type": "http", "scheme": "bearer", "description": "A token of this gateway."}}
LICENCE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
CONTACT = {"name": "The AgentPool developers"}
SERVERS = [{"url": "/", "description": "This gateway."}]
TAGS = [
    {"name": "jobs", "description": "Submit, read, select, cancel and signal jobs."},
    {"name": "webhooks", "description": "Messages to addresses outside, when a job ends."},
    {"name": "schedules", "description": "Jobs that are submitted at due times."},
    {"name": "queue", "description": "The queue of a pool, and its dead letters."},
    {"name": "scaling", "description": "The workers of a pool, and its pause."},
    {"name": "usage", "description": "Usage of models by the jobs of a pool."},
    {"name": "events", "description": "Server-Sent Events of a pool or a job."},
    {"name": "pools", "description": "The pools that a caller may read."},
    {"name": "a2a", "description": "A pool as an agent of the A2A protocol."},
    {"name": "mcp", "description": "A pool as tools of the Model Context Protocol."},
    {"name": "health", "description": "Probes."},
]
_SIGNAL = r"[A-Za-z0-9._-]{1,100}"
_PATH_PATTERNS = {
    "namespace": POOL_PART_PATTERN,
    "pool": POOL_PART_PATTERN,
    "job_id": ID_PATTERN,
    "config_id": ID_PATTERN,
    "name": NAME_PATTERN,  # of a webhook, a schedule or a worker
}
_NAMED = {
    "Job": schemas.JOB,
    "JobRequest": schemas.SUBMIT_REQUEST,
    "WebhookRequest": schemas.WEBHOOK_REQUEST,
    "CloudEvent": message_descriptions.CLOUD_EVENT,
    "JobNotice": message_descriptions.NOTICE,
    "Webhook": schemas.WEBHOOK,
    "JobSummary": schemas.SUMMARY,
    "Receipt": schemas.RECEIPT,
    "Result": schemas.RESULT,
    "Queue": schemas.QUEUE,
    "Scaling": schemas.SCALING,
    "Demand": schemas.DEMAND,
    "FailureGroup": view_schemas.FAILURE_GROUP,
    "Relative": view_schemas.RELATIVE,
    "Worker": view_schemas.WORKER,
    "WorkerLog": view_schemas.WORKER_LOG,
    "PendingReason": view_schemas.PENDING_REASON,
    "HistoryPoint": view_schemas.HISTORY_POINT,
    "PoolOverview": view_schemas.OVERVIEW_ROW,
    "History": schemas.HISTORY,
    "Usage": schemas.USAGE,
    "JobPage": schemas.FOUND,
    "CancelSelector": selector_schemas.CANCEL_SELECTOR,
    "ReplaySelector": selector_schemas.REPLAY_SELECTOR,
    "PurgeSelector": selector_schemas.PURGE_SELECTOR,
    "Problem": schemas.PROBLEM,
    "A2AAnswer": agent_schemas.A2A_ANSWER,
    "A2AMessage": agent_schemas.A2A_MESSAGE,
    "A2AError": agent_schemas.A2A_ERROR,
    "JobState": schemas.STATE,
    "Submitted": schemas.TAKEN,
    "SubmittedMany": schemas.TAKEN_MANY,
    "Event": schemas.EVENT,
    "EventDetail": schemas.EVENT_DETAIL,
    "Chunk": schemas.CHUNK,
    "Step": schemas.STEP,
    "Delivery": schemas.DELIVERY,
    "Schedule": schedule_schemas.SCHEDULE,
    "ScheduleRequest": schedule_schemas.SCHEDULE_REQUEST,
    "Changed": schemas.APPLIED,
    "Outcome": schemas.OUTCOME,
    "Signalled": schemas.SIGNALLED,
    "Priority": schemas.PRIORITY,
}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route for generated clients: its tag and its function."""
    return f"{route.tags[0]}_{route.name}" if route.tags else route.name


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


_PLAIN = [(name, _plain(schema)) for name, schema in _NAMED.items()]


def _name_of(schema: dict[str, Any]) -> str | None:
    """Return the name of a schema, which may have a description of its own; None: it has none."""
    plain = _plain(schema)
    return next((name for name, each in _PLAIN if each == plain), None)


def _with_references(value: Any, *, top: bool = False) -> Any:
    """Return a description with references in place of the schemas that have a name."""
    if isinstance(value, dict):
        if not top and (name := _name_of(value)):
            own = {"description": value["description"]} if "description" in value else {}
            return {"$ref": f"#/components/schemas/{name}"} | own
        return {key: _with_references(inner) for key, inner in value.items()}
    return [_with_references(inner) for inner in value] if isinstance(value, list) else value


def _restrict_path(operation: dict[str, Any], path: str) -> None:
    """Add their patterns to the parameters of a path."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            name = parameter["name"]
            pattern = _SIGNAL if name == "name" and "/signals/" in path else _PATH_PATTERNS[name]
            parameter["schema"] = {"type": "string", "pattern": f"^{pattern}$"}


def complete(app: FastAPI) -> None:
    """Add to the description the named schemas, the messages, and for each route its patterns and the verb it needs."""
    plain = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            found["paths"] = _with_references(found["paths"])
            found["webhooks"] = _with_references(message_descriptions.WEBHOOKS)
            components = found.setdefault("components", {})
            components["securitySchemes"] = SECURITY
            named = {name: _with_references(schema, top=True) for name, schema in _NAMED.items()}
            components["schemas"] = {**components.get("schemas", {}), **named}
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    _restrict_path(operation, path)
                    operation["summary"] = operation.get("description", "").partition("\n\n")[0].rstrip(".")
                    need = table.need_of(method.upper(), path)
                    if need is table.Rule.PUBLIC:
                        operation["security"] = []
                    else:
                        operation["security"] = [{"bearer": []}]
                        operation["x-agentpool-verb"] = str(need)
        return app.openapi_schema or {}

    app.openapi = completed  # type: ignore[method-assign]  # FastAPI's own way to extend it
