"""The page of limits: sizes, depths and counts, from the constants that enforce them. `generate.py` writes the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from agentpool_core.jobs import LONGEST_KIND, LONGEST_TAG, MOST_TAGS
from agentpool_core.json_schema import checker, rules
from agentpool_core.queue.codec import json_text, leases, requests
from agentpool_core.queue.connection import client, url
from agentpool_core.spec import pool, routes, scaling, worker
from agentpool_gateway.routes import queue as gateway_queue
from agentpool_gateway.settings import GatewaySettings
from agentpool_operator.pools import nesting
from agentpool_operator.status import conditions, events
from agentpool_worker.handlers import job_output, stream

HEAD = """\
# Limits

The fixed limits, generated from the code's constants by `make generate`. The [AgentPool reference](agentpool.md) has
those that a pool sets, such as `spec.queue.maxDepth` and the limits of its routes, with their ranges.
"""
POOL_LUA = Path(__file__).resolve().parent.parent / "core/agentpool_core/queue/scripts/lib/pool.lua"
MIB = 2**20

Row = tuple[str, str, str]  # subject, limit, consequence


def reference() -> str:
    """Return the whole page."""
    parts = [HEAD.rstrip()]
    for title, rows in (("A job", _job()), ("A pool", _pool()), ("A handler", _handler()), ("Clients", _clients())):
        table = "".join(f"\n| {subject} | {limit} | {beyond} |" for subject, limit, beyond in rows)
        parts.append(f"## {title}\n\n| of | at most | beyond |\n|---|---|---|{table}")
    return "\n\n".join(parts) + "\n"


def _job() -> Iterator[Row]:
    refused = "`InvalidJobError`; HTTP 422"
    body, deep = _size(json_text.MAX_BODY_BYTES), f"{json_text.MAX_BODY_DEPTH} levels"
    yield "payload", body, "`PayloadTooLargeError`, HTTP 413; store large data elsewhere and pass a reference"
    yield "payload, as nested JSON", deep, "`PayloadTooDeepError`, HTTP 422"
    checks = f"{checker.MOST_CHECKS:,} (parts of the schema times values)"
    yield "checks of a payload by a schema", checks, "`SchemaMismatchError`, HTTP 422"
    yield "result", f"{body}, {deep}", "the job fails for good"
    yield "checkpoint, progress", f"{body} each, {deep}", "the call in the handler raises the same errors"
    yield "kind", f"{LONGEST_KIND} characters", refused
    yield "job id", f"{_longest(requests.ID_PATTERN)} characters", refused
    yield "idempotency key", f"{_longest(requests.KEY_PATTERN)} characters, printable ASCII", refused
    yield "tags", f"{MOST_TAGS}, of {LONGEST_TAG} characters each", refused
    yield "parents (`after`)", f"{requests.MOST_PARENTS:,}", f"{refused}; gather them with jobs in between"
    yield "`max_attempts`", f"{requests.MOST_ATTEMPTS:,}", refused
    yield "`delay`, `ttl`, `timeout`", f"{requests.LONGEST_WAIT_MS // 86_400_000} days", refused
    yield "text of an error", f"{leases.MAX_ERROR_CHARS:,} characters", "the end is kept"
    yield "own history", f"about {_size(_lua('LOG_MAX_BYTES'))}", "the middle is left out"


def _pool() -> Iterator[Row]:
    refused = "the API server refuses the AgentPool"
    yield "name", f"{pool.MAX_NAME_LENGTH} characters", refused
    yield "routes", str(routes.MAX_ROUTES), refused
    yield "kinds of a route", str(routes.MAX_KINDS), refused
    invalid = "the condition `Ready` is False, reason `InvalidSpec`"
    yield "a schema of payloads or results, as JSON", _size(rules.MOST_BYTES), invalid
    yield "parts of a schema, references replaced", f"{rules.MOST_PARTS:,}", invalid
    yield "levels of a schema", str(rules.MOST_LEVELS), invalid
    yield "pattern in a schema", f"{rules.MOST_PATTERN_CHARS} characters", invalid
    yield "schemas of a route, as JSON", _size(routes.MAX_SCHEMAS_BYTES), invalid
    yield "workers", f"{scaling.MAX_REPLICAS:,}", refused
    yield "slots of a worker", f"{worker.MAX_CONCURRENCY:,}", refused
    yield "levels of `spec`", str(nesting.MAX_SPEC_DEPTH), invalid
    yield "events kept in the queue", f"about {_lua('EVENTS_MAX'):,}", "the oldest go; a reader that lags misses them"
    yield "message of a condition", f"{conditions.LONGEST_MESSAGE:,} characters", "the end is left out"
    yield "message of a Kubernetes event", f"{events.LONGEST_MESSAGE:,} characters", "the end is left out"


def _handler() -> Iterator[Row]:
    yield "standard output of a command", _size(job_output.STDOUT_LIMIT_BYTES), "the attempt fails"
    yield "standard error of a command, in the job's error", _size(job_output.STDERR_TAIL_BYTES), "the end is kept"
    yield "line of an HTTP handler's stream", _size(stream.LINE_LIMIT_BYTES), "the attempt fails"


def _clients() -> Iterator[Row]:
    yield "body of an HTTP request", _size(GatewaySettings().max_body_bytes), "413; `agentpool gateway --max-body`"
    yield "dead letters of an HTTP request", f"{gateway_queue.MOST:,}", "send the request again"
    yield (
        "connections of a client to a server",
        f"{client.MAX_CONNECTIONS:,}",
        ("a call waits for a free one; `max_connections` of the URL"),
    )
    yield "hosts of a Redis URL", str(url.MAX_HOSTS), "`SettingError`"


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"


def _longest(pattern: str) -> int:
    """Return the number of characters that a pattern of the form `X[…]{0,N}` takes."""
    return 1 + int(re.findall(r"\{0,(\d+)\}$", pattern)[0])


def _lua(name: str) -> int:
    """Return a number of the scripts."""
    return int(re.findall(rf"^local {name} = (\d+)", POOL_LUA.read_text(), re.MULTILINE)[0])
