"""JSON Schemas of answers that views need: overview, history, failures by error, relatives of a job. Data only.

`openapi` combines them with statuses and headers.
"""

from __future__ import annotations

from agentpool_gateway.schemas import (
    COUNT,
    CURSOR,
    EVENT,
    FLAG,
    QUEUE,
    STATE,
    SUMMARY,
    TEXT,
    Schema,
    nullable,
    record,
    rows,
)

FAILURE_GROUP = record(
    error=TEXT | {"description": "First line; … stands for a number or an id. For the condition `error_group`."},
    match=nullable(TEXT)
    | {"description": "For the condition `error`, which selects similar errors too; null: no text selects the group."},
    count=COUNT,
    kinds=rows(TEXT),
    latest_at_ms=COUNT,
    job_id=TEXT | {"description": "The latest job."},
)
FAILURES = record(
    groups=rows(FAILURE_GROUP), counted=COUNT, complete=FLAG | {"description": "Whether all dead letters were read."}
)
RELATIVE = record(
    **SUMMARY["properties"],
    generation={"type": "integer", "description": "0: the job; negative: ancestors; positive: descendants."},
)
FAMILY = record(job_id=TEXT, jobs=rows(RELATIVE), complete=FLAG | {"description": "Whether these are all."})
OVERVIEW_ROW: Schema = {
    "type": "object",
    "required": ["pool", "read", "troubles"],
    "properties": {
        "pool": TEXT,
        "read": FLAG | {"description": "Whether the queue could be read; false: no figures."},
        "troubles": rows(
            record(severity={"type": "string", "enum": ["error", "warning", "note"]}, reason=TEXT, message=TEXT)
        )
        | {"description": "The worst first."},
        "queued": COUNT,
        "running": COUNT,
        "dead": COUNT,
        "slots": COUNT,
        "slots_used": COUNT | {"description": "That the running jobs take."},
        "workers": COUNT | {"description": "With an unexpired lease."},
        "oldest_wait_ms": nullable(COUNT),
        "ready_replicas": nullable(COUNT),
        "wanted_replicas": nullable(COUNT),
    },
}
OVERVIEW = record(pools=rows(OVERVIEW_ROW), age_ms=COUNT | {"description": "Of the figures."})
HISTORY_POINT = record(
    at_ms=COUNT,
    queued=COUNT,
    running=COUNT,
    slots=COUNT,
    started=COUNT | {"description": "Claims, in total."},
    finished=COUNT | {"description": "Ended jobs, in total."},
    failed=COUNT | {"description": "Jobs that failed for good, in total."},
    attempts=COUNT | {"description": "Ended attempts, in total."},
    run_ms=COUNT | {"description": "Time of all ended attempts, in total."},
    desired=nullable(COUNT) | {"description": "Workers; null: not known."},
    ready=nullable(COUNT) | {"description": "Workers; null: not known."},
)
VERBS = record(
    pool=TEXT,
    verbs=rows(TEXT | {"description": "read, submit, manage or configure."}),
    grafana_url=nullable(TEXT) | {"description": "The dashboard of the pool, if the gateway knows its address."},
)
NEWEST_EVENTS = record(pool=TEXT, events=rows(EVENT))
PENDING_REASON = record(
    job_id=TEXT, state=STATE, pending_reason=nullable(TEXT) | {"description": "Null: the job runs or has ended."}
)
WORKER_LOG = record(worker=TEXT, log=TEXT | {"description": "The newest lines, oldest first; at most 256 KiB."})
POOL_HISTORY = record(pool=TEXT, points=rows(HISTORY_POINT))
WORKER = record(
    **QUEUE["properties"]["workers"]["items"]["properties"],
    kinds=nullable(rows(TEXT)) | {"description": "Kinds that the worker runs; null: any."},
    live=FLAG | {"description": "Whether the lease has not expired."},
    cordoned=FLAG | {"description": "Whether the worker finishes its jobs and is removed then."},
    reserved=FLAG | {"description": "Whether the worker runs the jobs in quarantine."},
    last_failure=nullable(record(job_id=TEXT, at_ms=COUNT, error=nullable(TEXT)))
    | {"description": "Latest failure of a job on the worker, among the newest events."},
)
WORKERS = record(
    pool=TEXT,
    taken_at_ms=COUNT,
    plain=FLAG | {"description": "Whether each job of the pool takes one slot."},
    workers=rows(WORKER),
    cursor=CURSOR,
)
