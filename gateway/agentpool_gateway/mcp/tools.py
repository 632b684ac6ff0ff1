"""The tools of a pool: their names, schemas and hints. Pure.

A tool for each kind that the routes list, and the fixed tools of `access.table.MCP_TOOLS`, which names their verbs.
Clients accept letters, digits, `_` and `-` in a name, so a kind's tool has a name made from the kind. `operations` has
the calls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from mcp.types import Tool as ToolDescription
from mcp.types import ToolAnnotations

from agentpool_core.documents import Document
from agentpool_core.kind_documents import schema_in
from agentpool_core.queue import PoolSettings
from agentpool_core.queue.settings import JobSchema
from agentpool_core.queue.usage_totals import COLUMNS, DEFAULT_DAYS, MOST_DAYS
from agentpool_gateway import schedule_schemas, schemas, selector_schemas, usage_schemas
from agentpool_gateway.access import table
from agentpool_gateway.access.authority import Verb
from agentpool_gateway.mcp import operations
from agentpool_gateway.mcp.operations import MOST_LISTED, PAGE, Call
from agentpool_gateway.mcp.waiting import MOST_SECONDS, WAIT_SECONDS
from agentpool_gateway.schemas import COUNT, FLAG, TEXT, Schema, nullable, record, rows

LONGEST_NAME = 64  # characters that all clients accept
_TO_TOP = '"$ref":"#"'
_DIGEST_CHARS = 8  # distinguish kinds with equal names
Operation: TypeAlias = Callable[[Call], Awaitable[Document]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool: its description for clients, and its call."""

    name: str
    title: str
    description: str
    arguments: Schema
    answer: Schema
    call: Operation
    destructive: bool = False
    idempotent: bool = False

    @property
    def verb(self) -> Verb:
        """Return the verb that a caller needs."""
        return table.MCP_TOOLS[table.MCP_KIND if self.name.startswith(table.MCP_KIND_PREFIX) else self.name]

    def described(self) -> ToolDescription:
        """Return the description in the protocol's form."""
        reads = self.verb is Verb.READ
        return ToolDescription(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.arguments,
            output_schema=self.answer,
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=reads,
                destructive_hint=self.destructive,
                idempotent_hint=reads or self.idempotent,
                open_world_hint=False,
            ),
        )


def _arguments(*required: str, **properties: Schema) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | {"required": list(required)} if required else found


_WAIT: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": MOST_SECONDS,
    "default": WAIT_SECONDS,
    "description": "Longest wait for the end of the job, in seconds.",
}
_JOB_ID: Schema = {"type": "string", "pattern": schemas.NAME, "description": "The job's id."}
_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": PAGE}
_SELECTED: dict[str, Schema] = selector_schemas.CONDITIONS | {"cursor": selector_schemas.CONTINUED, "limit": _LIMIT}
ANY_PAYLOAD: Schema = {
    "type": "object",
    "additionalProperties": True,
    "description": "The payload, passed to the handler as it is.",
}
OUTCOME: Schema = {
    "type": "object",
    "required": ["job_id", "state", "ended"],
    "properties": {
        "job_id": TEXT,
        "state": schemas.STATE,
        "ended": FLAG,
        "result": schemas.ANYTHING,
        "error": nullable(TEXT),
        "reason": nullable(TEXT),
        "progress": schemas.ANYTHING,
        "duplicate": FLAG,
        "queue_depth": COUNT,
        "waits_for": rows(TEXT),
        "question": schemas.ANYTHING,
        "hint": TEXT,
    },
}
_SUBMIT: Schema = {
    **schemas.JOB_REQUEST,
    "properties": {**schemas.JOB_REQUEST["properties"], "wait_seconds": _WAIT | {"default": 0}},
}
_NAMED: Schema = {"type": "string", "minLength": 1, "maxLength": 100, "description": "The schedule's name."}
_OUTPUT = record(
    job_id=TEXT,
    chunks=rows(record(id=TEXT, run=COUNT, attempt=COUNT, number=COUNT, value=schemas.ANYTHING)),
    after=TEXT | {"description": "Send it in the next call."},
    ended=FLAG,
)
_USAGE_QUERY: dict[str, Schema] = {
    "days": {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DEFAULT_DAYS},
    "by": rows({"type": "string", "enum": [*COLUMNS]}) | {"description": "Divides the totals."},
    "tenant": TEXT,
    "kind": TEXT,
    "model": TEXT,
}
_FIXED: tuple[Tool, ...] = (
    Tool(
        name="submit",
        title="Submit a job",
        description="Submit a job of any kind, with priority, delay, dependencies or an idempotency key. Returns the "
        "job's id; with wait_seconds, the outcome if the job ends in time.",
        arguments=_SUBMIT,
        answer=OUTCOME,
        call=operations.submit,
    ),
    Tool(
        name="get_job",
        title="Read a job",
        description="Return a job's whole record: state, payload, result, error, attempts and progress.",
        arguments=_arguments("job_id", job_id=_JOB_ID),
        answer=schemas.JOB,
        call=operations.get_job,
    ),
    Tool(
        name="wait_for_job",
        title="Wait for a job",
        description="Wait until a job has ended, and return its outcome. With ended=false the job goes on: call again.",
        arguments=_arguments("job_id", job_id=_JOB_ID, wait_seconds=_WAIT),
        answer=OUTCOME,
        call=operations.wait_for_job,
    ),
    Tool(
        name="list_jobs",
        title="List jobs",
        description="List the selected jobs, without payloads and results; without state those that wait, run or have "
        "failed. The cursor of an answer continues the list.",
        arguments=_arguments(**_SELECTED),
        answer=schemas.FOUND,
        call=operations.list_jobs,
    ),
    Tool(
        name="cancel_job",
        title="Cancel a job",
        description="Cancel a job: a waiting job ends at once, the worker of a running job is asked to stop it. "
        "With tree, also all jobs that the job has started.",
        arguments=_arguments(
            "job_id", job_id=_JOB_ID, reason={"type": "string", "maxLength": 200}, tree={"type": "boolean"}
        ),
        answer=schemas.OUTCOME,
        call=operations.cancel_job,
        destructive=True,
    ),
    Tool(
        name="signal_job",
        title="Signal a job",
        description="Send a named signal with any JSON value to a job, which resumes the job if it waits for the name. "
        "A signal that comes before the wait is kept; one with the same signal_id is sent once.",
        arguments=_arguments(
            "job_id", "signal", job_id=_JOB_ID, signal=TEXT, value=schemas.ANYTHING, signal_id={"type": "string"}
        ),
        answer=schemas.SIGNALLED,
        call=operations.signal_job,
    ),
    Tool(
        name="read_output",
        title="Read the output",
        description="Return what a job's handler has emitted, such as the tokens of a model: the chunks after a place, "
        "at most 200. With wait_seconds, wait for the first one. Send `after` of the answer to read on.",
        arguments=_arguments(
            "job_id",
            job_id=_JOB_ID,
            after={"type": "string", "pattern": r"^\d{1,16}(-\d{1,16})?$", "description": "Default: the beginning."},
            wait_seconds=_WAIT | {"default": 0, "description": "Longest wait for the first chunk, in seconds."},
        ),
        answer=_OUTPUT,
        call=operations.read_output,
    ),
    Tool(
        name="queue",
        title="Show the queue",
        description="Return the pool's queue: waiting and running jobs by route and priority, workers, limits, "
        "estimated wait.",
        arguments=_arguments(),
        answer=schemas.QUEUE,
        call=operations.queue,
    ),
    Tool(
        name="dead_letters",
        title="List dead letters",
        description="List jobs that failed for good, oldest first, with the first line of their error.",
        arguments=_arguments(**{name: schema for name, schema in _SELECTED.items() if name != "state"}),
        answer=schemas.FOUND,
        call=operations.dead_letters,
    ),
    Tool(
        name="replay",
        title="Replay a dead letter",
        description="Put a dead letter back into the queue, with all its attempts. `downstream`: with all jobs that "
        "were cancelled because of it.",
        arguments=_arguments("job_id", job_id=_JOB_ID, downstream={"type": "boolean"}),
        answer=schemas.OUTCOME,
        call=operations.replay,
    ),
    Tool(
        name="usage",
        title="Show the usage of models",
        description="Return tokens and money that the pool's jobs have reported, of the last days in UTC.",
        arguments=_arguments(**_USAGE_QUERY),
        answer=usage_schemas.USAGE_TOTALS,
        call=operations.usage,
    ),
    Tool(
        name="schedules",
        title="List schedules",
        description="Return the pool's schedules, which submit a job at due times, with their next and last runs.",
        arguments=_arguments(),
        answer=record(schedules=rows(schedule_schemas.SCHEDULE)),
        call=operations.schedules,
    ),
    Tool(
        name="put_schedule",
        title="Create or replace a schedule",
        description="Store a schedule: a kind with either cron or every (seconds, or a text such as 5m). The "
        "schedules of the AgentPool itself cannot be replaced.",
        arguments=_arguments("name", "kind", name=_NAMED, **schedule_schemas.SCHEDULE_REQUEST["properties"]),
        answer=schedule_schemas.SCHEDULE_CHANGED,
        call=operations.put_schedule,
        idempotent=True,
    ),
    Tool(
        name="delete_schedule",
        title="Delete a schedule",
        description="Delete a schedule that the AgentPool does not declare. The jobs that it has submitted stay.",
        arguments=_arguments("name", name=_NAMED),
        answer=schedule_schemas.SCHEDULE_CHANGED,
        call=operations.delete_schedule,
        destructive=True,
    ),
    Tool(
        name="pause_schedule",
        title="Pause or resume a schedule",
        description="Pause a schedule, or resume it; due times meanwhile are skipped.",
        arguments=_arguments("name", "paused", name=_NAMED, paused=FLAG),
        answer=schedule_schemas.SCHEDULE_CHANGED,
        call=operations.pause_schedule,
        idempotent=True,
    ),
)


def tools_of(settings: PoolSettings) -> Mapping[str, Tool]:
    """Return the tools of a pool by name: those of its kinds first.

    Arguments are an object, so a kind with other payloads has no tool of its own: `submit` takes its jobs.
    """
    kinds = dict.fromkeys(kind for route in settings.routes for kind in route.kinds)
    found = [
        _tool_of(kind, name, settings.route_of(kind), arguments, _answer_of(settings.schema_of(kind)))
        for kind, name in names_of(list(kinds)).items()
        if (arguments := _payload_of(settings.schema_of(kind))) is not None
    ]
    return {tool.name: tool for tool in (*found, *_FIXED)}


def names_of(kinds: list[str]) -> dict[str, str]:
    """Return the tool names of kinds; a name that is too long or not unique ends with a digest of its kind."""
    plain = {kind: table.MCP_KIND_PREFIX + re.sub(r"[^A-Za-z0-9_-]", "_", kind) for kind in kinds}
    names = list(plain.values())
    return {
        kind: name if len(name) <= LONGEST_NAME and names.count(name) == 1 else _with_digest(name, kind)
        for kind, name in plain.items()
    }


def _with_digest(name: str, kind: str) -> str:
    digest = hashlib.sha256(kind.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{name[: LONGEST_NAME - _DIGEST_CHARS - 1]}_{digest}"


def _payload_of(schema: JobSchema) -> Schema | None:
    """Return the schema of the arguments of a kind's tool; None for payloads that are no objects."""
    if schema.input is None:
        return ANY_PAYLOAD
    found = schema_in(schema.input)
    return {"type": "object"} | found if found is not None and found.get("type", "object") == "object" else None


def _answer_of(schema: JobSchema) -> Schema:
    """Return the schema of the answer of a kind's tool: the outcome, with the schema of the kind's results.

    Definitions move to the top, where references look for them; a schema that refers to its own top cannot move.
    """
    result = schema_in(schema.output)
    if not result or _TO_TOP in str(schema.output).replace(" ", ""):
        return OUTCOME
    definitions: Schema = {name: result.pop(name) for name in ("$defs", "definitions") if name in result}
    result.pop("$schema", None)
    return {**OUTCOME, **definitions, "properties": {**OUTCOME["properties"], "result": nullable(result)}}


def _tool_of(kind: str, name: str, route: str, arguments: Schema, answer: Schema) -> Tool:
    return Tool(
        name=name,
        title=f"Run {kind}",
        description=f"Run a job of the kind {kind} on the route {route}, and return its result. The arguments are the "
        f"payload. A job that has not ended after {WAIT_SECONDS} s goes on: pass its id to wait_for_job.",
        arguments=arguments,
        answer=answer,
        call=partial(operations.run_kind, kind),
    )
