"""JSON Schemas of schedules: data only. `schemas` has those of jobs; `openapi` and the tools of MCP take them."""

from __future__ import annotations

from agentpool_core.jobs import KIND_PATTERN
from agentpool_core.queue.schedule import MOST_CATCH_UP, Missed, Overlap
from agentpool_gateway.schemas import (
    ANYTHING,
    COUNT,
    CURSOR,
    DURATION,
    FLAG,
    PRIORITY,
    TEXT,
    Schema,
    nullable,
    record,
    rows,
)

_SCHEDULE: dict[str, Schema] = {
    "kind": {"type": "string", "pattern": f"^{KIND_PATTERN}$"},
    "cron": {"type": ["string", "null"], "description": "minute hour day month weekday"},
    "every_ms": {"type": ["integer", "null"], "minimum": 1_000, "description": "An interval instead, in milliseconds."},
    "time_zone": TEXT | {"description": "IANA name, for cron."},
    "payload": ANYTHING,
    "priority": PRIORITY,
    "missed": {"type": "string", "enum": [choice.value for choice in Missed]},
    "max_catch_up": COUNT | {"minimum": 1, "maximum": MOST_CATCH_UP},
    "overlap": {"type": "string", "enum": [choice.value for choice in Overlap]},
    "suspended": FLAG,
}
SCHEDULE_REQUEST: Schema = {
    "type": "object",
    "required": ["kind"],
    "additionalProperties": False,
    "description": "Exactly one of cron, every and every_ms.",
    "properties": _SCHEDULE
    | {"every": DURATION | {"description": "An interval instead: seconds, or a text such as 5m."}},
}
SCHEDULE = record(
    name=TEXT,
    **_SCHEDULE,
    declared=FLAG | {"description": "By spec.schedules of the AgentPool."},
    paused=FLAG,
    next_due_ms=nullable(COUNT),
    last_due_ms=nullable(COUNT),
    last_outcome=nullable(TEXT),
    last_job_id=nullable(TEXT),
)
SCHEDULES = record(schedules=rows(SCHEDULE), cursor=CURSOR)
SCHEDULE_CHANGED = record(name=TEXT, outcome=TEXT)
