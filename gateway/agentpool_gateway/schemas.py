"""JSON Schemas of the API's requests and answers: data only, in the terms of `agentpool_core.documents`.

`openapi` combines them with statuses and headers.
"""

from __future__ import annotations

from typing import Any

from agentpool_core.documents import UNLISTED
from agentpool_core.jobs import (
    KIND_PATTERN,
    MOST_TAGS,
    SUBJECT_PATTERN,
    TAG_PATTERN,
    AfterCondition,
    JobState,
    OnConflict,
    Priority,
    StepOutcome,
)
from agentpool_core.queue.codec.requests import (
    ID_PATTERN,
    KEY_PATTERN,
    LONGEST_WAIT_MS,
    MOST_ATTEMPTS,
    MOST_PARENTS,
)
from agentpool_core.queue.usage import MOST_TOKENS
from agentpool_core.queue.webhooks import ENDS, Change, DeliveryOutcome

Schema = dict[str, Any]

NAME = f"^{ID_PATTERN}$"
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {"description": "Any JSON."}
STATE: Schema = {"type": "string", "enum": [state.value for state in JobState]}
PRIORITY: Schema = {"type": "string", "enum": [priority.value for priority in Priority]}


def nullable(schema: Schema) -> Schema:
    """Return the schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def record(**properties: Schema) -> Schema:
    """Return the schema of an object that has all these fields."""
    return {"type": "object", "required": list(properties), "properties": properties}


def rows(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def _ms(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": LONGEST_WAIT_MS}


def _all_of(*names: str) -> Schema:
    """Return the schema of an object with all of these fields."""
    return {"required": list(names), "properties": {name: {} for name in names}}


SUBJECT: Schema = {"type": ["string", "null"], "pattern": f"^{SUBJECT_PATTERN}$"}
DURATION: Schema = {
    "type": ["number", "string", "null"],
    "minimum": 0,
    "maximum": LONGEST_WAIT_MS / 1_000,
    "pattern": r"^[0-9]{1,12}(\.[0-9]{1,12})?(ms|s|m|h|d|)$",
}
_POSITIVE = DURATION | {"minimum": 0.001}
JOB_REQUEST: Schema = {
    "type": "object",
    "required": ["kind"],
    "additionalProperties": False,
    "allOf": [{"not": _all_of(name, f"{name}_ms")} for name in ("delay", "ttl", "timeout")],
    "properties": {
        "kind": {"type": "string", "pattern": f"^{KIND_PATTERN}$", "description": "The handler."},
        "payload": {"description": "Any JSON, passed to the handler; at most 1 MiB."},
        "priority": PRIORITY | {"default": Priority.TASK.value},
        "job_id": {"type": ["string", "null"], "pattern": NAME, "description": "Null: generated."},
        "idempotency_key": {
            "type": ["string", "null"],
            "pattern": f"^{KEY_PATTERN}$",
            "description": "As the header Idempotency-Key.",
        },
        "on_conflict": {"type": "string", "enum": [choice.value for choice in OnConflict]},
        "limit_key": SUBJECT | {"description": "Limits by key apply to all jobs with the same text together."},
        "tenant": SUBJECT | {"description": "Limits by tenant apply to all jobs of the tenant together."},
        "tokens": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": MOST_TOKENS,
            "description": "Tokens that the job is expected to use, for rates of tokens. Null: those of its route.",
        },
        "after": {
            "type": "array",
            "items": {"type": "string", "pattern": NAME},
            "maxItems": MOST_PARENTS,
            "description": "Jobs that must end first.",
        },
        "after_condition": {"type": "string", "enum": [choice.value for choice in AfterCondition]},
        "delay": DURATION | {"description": "Delay before the start: seconds, or a text such as 5m."},
        "ttl": _POSITIVE | {"description": "Longest wait for the start: seconds, or a text such as 5m."},
        "timeout": _POSITIVE | {"description": "Longest attempt: seconds, or a text such as 5m."},
        "delay_ms": _ms(0) | {"description": "Delay before the start, in milliseconds."},
        "ttl_ms": _ms(1) | {"type": ["integer", "null"], "description": "Longest wait, in milliseconds."},
        "timeout_ms": _ms(1) | {"type": ["integer", "null"], "description": "Longest attempt, in milliseconds."},
        "max_attempts": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_ATTEMPTS},
        "preemptible": FLAG | {"default": False},
        "trace": {
            "type": "object",
            "propertyNames": {"minLength": 1},
            "additionalProperties": TEXT | {"minLength": 1},
            "description": "W3C trace headers.",
        },
        "tags": rows({"type": "string", "pattern": f"^{TAG_PATTERN}$"})
        | {"maxItems": MOST_TAGS, "description": "Labels to find the job by."},
    },
}
_WEBHOOK_URL: Schema = {"type": "string", "format": "uri", "maxLength": 2_000}
WEBHOOK_REQUEST: Schema = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": _WEBHOOK_URL | {"description": "https, of an allowed host."},
        "changes": rows({"type": "string", "enum": [change.value for change in Change]})
        | {"minItems": 1, "maxItems": len(Change), "default": [change.value for change in ENDS]},
    },
}
SUBMIT_REQUEST: Schema = JOB_REQUEST | {
    "properties": {
        **JOB_REQUEST["properties"],
        "webhook": {
            "oneOf": [WEBHOOK_REQUEST, _WEBHOOK_URL],
            "description": "Receives the end; a URL is short for it.",
        },
    }
}
EVENT_DETAIL: Schema = {
    "type": "object",
    "properties": {
        "error": TEXT,
        "reason": TEXT,
        "signal": TEXT | {"description": "Name of a signal that came."},
        "waits_for": rows(TEXT) | {"description": "Signals; none: a time."},
        "progress": ANYTHING,
    },
}
EVENT = record(
    id=TEXT | {"description": "Place in the stream, for Last-Event-ID."},
    type=TEXT | {"description": "queued, started, succeeded, …: docs/state-machine.md"},
    job_id=TEXT,
    at_ms=COUNT,
    kind=TEXT,
    route=TEXT,
    priority=PRIORITY,
    attempt=COUNT,
    worker=nullable(TEXT),
    detail=nullable(EVENT_DETAIL),
)
CHUNK = record(id=TEXT, run=COUNT, attempt=COUNT, number=COUNT, value=ANYTHING)
DELIVERY = record(
    webhook=TEXT,
    change=TEXT,
    changed_at_ms=COUNT,
    outcome={"type": "string", "enum": [outcome.value for outcome in DeliveryOutcome]},
    tries=COUNT,
    tried_at_ms=COUNT,
    answer=TEXT | {"description": "Of the receiver, or the error of the connection."},
)
WEBHOOK = record(name=TEXT, url=TEXT, changes=rows(TEXT), format=TEXT)
REDELIVERED = record(name=TEXT, messages=COUNT)
WEBHOOKS = record(webhooks=rows(WEBHOOK), deliveries=rows(DELIVERY))
WEBHOOK_SECRETS = record(secrets=rows(TEXT | {"description": "Of Standard Webhooks; the newest first."}))
RECEIPT = record(job_id=TEXT, state=STATE, queued=FLAG, queue_depth=COUNT, duplicate=FLAG)
TAKEN = record(job_id=TEXT, state=STATE, queued=FLAG, queue_depth=COUNT, duplicate=FLAG, position=nullable(COUNT))
TAKEN_MANY = record(jobs=rows(RECEIPT), accepted=COUNT, duplicates=COUNT)
RESULT = record(
    job_id=TEXT, state=STATE, result=ANYTHING, error=nullable(TEXT), reason=nullable(TEXT), progress=ANYTHING
)
STEP = record(
    name=TEXT,
    outcome={"type": "string", "enum": [outcome.value for outcome in StepOutcome]},
    attempt=COUNT,
    started_at_ms=COUNT,
    duration_ms=COUNT,
)
USAGE = record(calls=COUNT, input_tokens=COUNT, output_tokens=COUNT, cost={"type": "number", "minimum": 0})
BUDGET = record(
    limit=TEXT,
    amount=COUNT,
    spent={"type": "number", "minimum": 0},
    resets_at_ms=COUNT | {"description": "The next window begins, on Redis' clock."},
)
JOB = record(
    job_id=TEXT,
    pool=TEXT,
    state=STATE,
    kind=TEXT,
    route=TEXT,
    priority=PRIORITY,
    payload=ANYTHING,
    attempt=COUNT,
    max_attempts=COUNT,
    timeout_ms=COUNT,
    submitted_at_ms=COUNT,
    enqueued_at_ms=nullable(COUNT),
    claimed_at_ms=nullable(COUNT),
    finished_at_ms=nullable(COUNT),
    due_at_ms=nullable(COUNT),
    expires_at_ms=nullable(COUNT),
    worker=nullable(TEXT),
    result=ANYTHING,
    error=nullable(TEXT) | {"description": "Why the job failed; null unless failed."},
    last_error=nullable(TEXT)
    | {"description": "Of the latest failed attempt, also of a job that a retry or a replay has started again."},
    last_error_attempt=nullable(COUNT) | {"description": "The attempt of `last_error`; null: none, or too long ago."},
    reason=nullable(TEXT),
    progress=ANYTHING,
    checkpoint=ANYTHING,
    after=rows(TEXT),
    tags=rows(TEXT),
    idempotency_key=nullable(TEXT),
    limit_key=nullable(TEXT),
    tenant=nullable(TEXT),
    tokens=nullable(COUNT) | {"description": "Tokens that the job is expected to use, as submitted."},
    started_by=nullable(TEXT) | {"description": "The job that has started this job."},
    held_by=nullable(TEXT)
    | {"description": "The limit that a queued job waits for, or the budget whose next window a waiting job needs."},
    held_until_ms=nullable(COUNT) | {"description": "When that limit opens; null: when a job ends, or not known."},
    budget=nullable(BUDGET) | {"description": "The budget that the queued job waits for."},
    cancel_requested=FLAG,
    losses=COUNT | {"description": "Workers that were lost, or ran out of memory, while they ran the job."},
    quarantined=FLAG | {"description": "Whether the job runs alone, or waits to run alone, after two losses."},
    undecodable={
        "type": "object",
        "additionalProperties": TEXT,
        "description": "Fields of the record that cannot be read, with the beginning of their text.",
    },
    waits_for=rows(TEXT) | {"description": "Signals that a waiting job waits for; none: it waits for its time."},
    waits_for_children=FLAG | {"description": "A waiting job waits for jobs that it has started."},
    usage=USAGE | {"description": "Usage of models that the handler has reported, in all attempts."},
    question=ANYTHING | {"description": "Question of a waiting job to the sender of the signal; null: none."},
    steps=rows(STEP) | {"description": "Durable steps, in the order of their ends."},
)
SUMMARY = record(**{name: schema for name, schema in JOB["properties"].items() if name not in UNLISTED})
CURSOR = nullable(TEXT | {"description": "Of the next page; null: the end."})
FOUND = record(jobs=rows(SUMMARY), cursor=CURSOR)
COUNTED = record(count=COUNT)
APPLIED = record(
    changed=COUNT, cursor=nullable(TEXT | {"description": "Send it in the next request; null: all are done."})
)
HISTORY = record(job_id=TEXT, history=rows(record(at_ms=COUNT, type=TEXT, attempt=COUNT, worker=nullable(TEXT))))
SIGNALLED = record(job_id=TEXT, signal=TEXT, outcome=TEXT)
OUTCOME = record(job_id=TEXT, outcome=TEXT)
REPLAYED = {
    **OUTCOME,
    "properties": {**OUTCOME["properties"], "downstream": COUNT | {"description": "Restored with it, if asked for."}},
}
PURGED = record(deleted=COUNT, left=COUNT)
_JSON_SCHEMA: Schema = {"type": ["object", "null"], "description": "A JSON Schema (2020-12); null: any value."}
KINDS = record(
    pool=TEXT,
    unlisted_kinds={"type": "string", "enum": ["accept", "refuse"]},
    kinds=rows(record(kind=TEXT, route=TEXT, input=_JSON_SCHEMA, output=_JSON_SCHEMA)),
)
POOLS = record(pools=rows(TEXT), cursor=CURSOR)
QUEUE = record(
    pool=TEXT,
    taken_at_ms=COUNT,
    paused=FLAG,
    retired=FLAG | {"description": "The AgentPool was deleted: its queue refuses new jobs."},
    depth=COUNT,
    queued=COUNT,
    running=COUNT,
    slots=COUNT | {"description": "Of the workers with an unexpired lease."},
    slots_used=COUNT | {"description": "That the running jobs take."},
    scheduled=COUNT,
    blocked=COUNT,
    waiting=COUNT | {"description": "Started jobs that wait for a signal or a time, without a slot."},
    dead=COUNT,
    held=COUNT | {"description": "Jobs that wait for a limit, in addition to the queued jobs."},
    quarantined=COUNT | {"description": "Queued jobs that wait to run alone."},
    oldest_wait_ms=nullable(COUNT),
    estimated_wait_ms=nullable(COUNT),
    routes=rows(
        record(
            name=TEXT,
            limit=nullable(COUNT),
            slots=COUNT | {"description": "That a job takes."},
            running=COUNT,
            paused_ms=COUNT | {"description": "Time until jobs start again after a handler's overload; 0: not paused."},
            queued=record(**{priority.value: COUNT for priority in Priority}),
        )
    ),
    limits=rows(
        record(
            name=TEXT,
            by=nullable(TEXT) | {"description": "key or tenant: each has a limit of its own."},
            limit=TEXT | {"description": "The bound in words."},
            waiting=COUNT | {"description": "Jobs that wait for the limit."},
            free=nullable(COUNT) | {"description": "Jobs that may start now; null: differs by key or tenant."},
            burst=nullable(COUNT) | {"description": "Starts or tokens at once after a pause; null: no rate."},
            level=nullable({"type": "number"})
            | {"description": "Starts or tokens that are free now, below 0 a debt; null: no rate, or divided."},
        )
    ),
    workers=rows(
        record(
            name=TEXT,
            slots=COUNT,
            running=COUNT,
            host=TEXT,
            version=TEXT | {"description": "Of AgentPool; empty: of a worker that does not report its version."},
            since_ms=COUNT | {"description": "Time of the registration."},
            note=TEXT | {"description": "Reason why the worker claims no jobs; empty: claims jobs."},
            lease_expires_at_ms=COUNT,
        )
    ),
    totals=record(submitted=COUNT, started=COUNT, finished=COUNT),
)
SCALING: Schema = {
    "type": "object",
    "required": ["pool", "declared"],
    "properties": {
        "pool": TEXT,
        "declared": FLAG | {"description": "Whether the pool has an AgentPool; false: no further fields."},
        "replicas": nullable(COUNT),
        "ready_replicas": nullable(COUNT),
        "desired_replicas": nullable(COUNT),
        "wanted_replicas": nullable(COUNT | {"description": "Workers that the work alone would need."}),
        "manual_replicas": nullable(COUNT | {"description": "spec.replicas: set by hand."}),
        "min_replicas": nullable(COUNT),
        "max_replicas": nullable(COUNT),
        "paused": FLAG,
        "limited": nullable(record(reason=TEXT, message=TEXT)),
        "decision": nullable(record(at=TEXT, reason=TEXT)),
        "gpus": nullable({"type": "object"}),
        "conditions": rows(record(type=TEXT, status=TEXT)),
    },
}
DEMAND = record(
    pool=TEXT,
    running=COUNT | {"description": "Jobs that run, without those of lost workers."},
    startable=COUNT | {"description": "Waiting jobs that all limits allow to start now."},
    held_back=COUNT | {"description": "Waiting jobs that a limit keeps from starting: a further worker has no work."},
    jobs=COUNT | {"description": "Running and startable jobs."},
    workers=COUNT | {"description": "Workers that have a slot for each of these jobs."},
)
PAUSED = record(pool=TEXT, paused=FLAG)
PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "remedy": TEXT,
        "instance": TEXT,
        "field": TEXT,
    },
}
