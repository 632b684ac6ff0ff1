"""The table of all calls at the gateway, with the verb that each call needs.

The check in `agentpool_gateway.access.admission` reads only this table: a route or a method without a row is refused,
and `verify` refuses to build an app with routes that differ from the table. A new protocol or tool gets a separate
mapping beside `A2A_METHODS`, and the rule `BY_METHOD` for the route. `admission` takes over next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from agentpool_gateway.access.authority import Verb


class Rule(StrEnum):
    """The need of a call that no single verb describes."""

    PUBLIC = "public"  # no token: probes, static files, the API's description; no pool is named in them
    KNOWN = "known"  # any valid token; the answer is limited to pools that the holder may see
    ANY_VERB = "any-verb"  # any verb of the pool
    BY_METHOD = "by-method"  # the body names a method; the verb is in a separate mapping


Need: TypeAlias = Verb | Rule

_PARTS = re.compile(r"(\{\w+\})")
_POOL = "/v1/namespaces/{namespace}/pools/{pool}"
_A2A = f"{_POOL}/a2a"
ROUTES: Mapping[tuple[str, str], Need] = {
    ("POST", f"{_POOL}/jobs"): Verb.SUBMIT,
    ("GET", f"{_POOL}/jobs"): Verb.READ,
    ("GET", f"{_POOL}/jobs:count"): Verb.READ,
    ("GET", f"{_POOL}/jobs:errors"): Verb.READ,
    ("POST", f"{_POOL}/jobs:cancel"): Verb.MANAGE,
    ("POST", f"{_POOL}/jobs:replay"): Verb.MANAGE,
    ("POST", f"{_POOL}/jobs:purge"): Verb.MANAGE,
    ("GET", f"{_POOL}/jobs/{{job_id}}"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/result"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/history"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/family"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/pending-reason"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/events"): Verb.READ,
    ("GET", f"{_POOL}/jobs/{{job_id}}/stream"): Verb.READ,
    ("DELETE", f"{_POOL}/jobs/{{job_id}}"): Verb.MANAGE,
    ("POST", f"{_POOL}/jobs/{{job_id}}/signals/{{name}}"): Verb.MANAGE,
    ("GET", f"{_POOL}/jobs/{{job_id}}/webhooks"): Verb.READ,
    ("PUT", f"{_POOL}/jobs/{{job_id}}/webhooks/{{name}}"): Verb.MANAGE,
    ("DELETE", f"{_POOL}/jobs/{{job_id}}/webhooks/{{name}}"): Verb.MANAGE,
    ("POST", f"{_POOL}/jobs/{{job_id}}/webhooks/{{name}}/redeliver"): Verb.MANAGE,
    ("GET", f"{_POOL}/webhook-secrets"): Verb.CONFIGURE,
    ("GET", f"{_POOL}/schedules"): Verb.READ,
    ("PUT", f"{_POOL}/schedules/{{name}}"): Verb.CONFIGURE,
    ("DELETE", f"{_POOL}/schedules/{{name}}"): Verb.CONFIGURE,
    ("PUT", f"{_POOL}/schedules/{{name}}/paused"): Verb.CONFIGURE,
    ("GET", f"{_POOL}/events"): Verb.READ,
    ("GET", f"{_POOL}/events:newest"): Verb.READ,
    ("GET", f"{_POOL}/queue"): Verb.READ,
    ("GET", f"{_POOL}/history"): Verb.READ,
    ("GET", f"{_POOL}/workers"): Verb.READ,
    ("GET", f"{_POOL}/workers/{{name}}/log"): Verb.MANAGE,  # lines of a program, which no job's record has
    ("GET", f"{_POOL}/verbs"): Rule.ANY_VERB,
    ("GET", f"{_POOL}/dead"): Verb.READ,
    ("POST", f"{_POOL}/dead/{{job_id}}/replay"): Verb.MANAGE,
    ("DELETE", f"{_POOL}/dead/{{job_id}}"): Verb.MANAGE,
    ("DELETE", f"{_POOL}/dead"): Verb.MANAGE,
    ("GET", f"{_POOL}/scaling"): Verb.READ,
    ("GET", f"{_POOL}/demand"): Verb.READ,
    ("GET", f"{_POOL}/usage"): Verb.READ,
    ("GET", f"{_POOL}/kinds"): Verb.READ,
    ("PUT", f"{_POOL}/paused"): Verb.CONFIGURE,
    ("POST", f"{_POOL}/mcp"): Rule.BY_METHOD,
    ("GET", f"{_A2A}/.well-known/agent-card.json"): Rule.ANY_VERB,
    ("POST", _A2A): Rule.BY_METHOD,
    ("POST", f"{_A2A}/"): Rule.BY_METHOD,
    ("POST", f"{_A2A}/message:send"): Verb.SUBMIT,
    ("POST", f"{_A2A}/message:stream"): Verb.SUBMIT,
    ("GET", f"{_A2A}/tasks"): Verb.READ,
    ("GET", f"{_A2A}/tasks/{{job_id}}"): Verb.READ,
    ("POST", f"{_A2A}/tasks/{{job_id}}:cancel"): Verb.MANAGE,
    ("GET", f"{_A2A}/tasks/{{job_id}}:subscribe"): Verb.READ,
    ("POST", f"{_A2A}/tasks/{{job_id}}:subscribe"): Verb.READ,
    ("POST", f"{_A2A}/tasks/{{job_id}}/pushNotificationConfigs"): Verb.MANAGE,
    ("GET", f"{_A2A}/tasks/{{job_id}}/pushNotificationConfigs"): Verb.READ,
    ("GET", f"{_A2A}/tasks/{{job_id}}/pushNotificationConfigs/{{config_id}}"): Verb.READ,
    ("DELETE", f"{_A2A}/tasks/{{job_id}}/pushNotificationConfigs/{{config_id}}"): Verb.MANAGE,
    ("GET", f"{_A2A}/extendedAgentCard"): Verb.READ,
    ("GET", "/v1/a2a/agents"): Rule.KNOWN,
    ("GET", "/v1/a2a/jwks.json"): Rule.PUBLIC,
    ("GET", "/v1/pools"): Rule.KNOWN,
    ("GET", "/v1/pools:overview"): Rule.KNOWN,
    ("GET", "/healthz"): Rule.PUBLIC,
    ("GET", "/readyz"): Rule.PUBLIC,
    ("GET", "/openapi.json"): Rule.PUBLIC,
    ("GET", "/"): Rule.PUBLIC,
    ("GET", "/console"): Rule.PUBLIC,
    ("GET", "/docs"): Rule.PUBLIC,
    ("GET", "/docs/runbooks"): Rule.PUBLIC,
    ("MOUNT", "/console"): Rule.PUBLIC,
    ("MOUNT", "/docs"): Rule.PUBLIC,
}
A2A_METHODS: Mapping[str, Verb] = {
    # A2A 1.0
    "SendMessage": Verb.SUBMIT,  # without `read` the answer is the receipt alone
    "SendStreamingMessage": Verb.SUBMIT,  # likewise, and the stream ends
    "GetTask": Verb.READ,
    "ListTasks": Verb.READ,
    "CancelTask": Verb.MANAGE,  # without `read` the answer is the state alone
    "SubscribeToTask": Verb.READ,
    "CreateTaskPushNotificationConfig": Verb.MANAGE,  # as for webhooks; a message may bring one with `submit`
    "GetTaskPushNotificationConfig": Verb.READ,
    "ListTaskPushNotificationConfigs": Verb.READ,
    "DeleteTaskPushNotificationConfig": Verb.MANAGE,
    "GetExtendedAgentCard": Verb.READ,
    # A2A 0.3
    "message/send": Verb.SUBMIT,
    "message/stream": Verb.SUBMIT,
    "tasks/get": Verb.READ,
    "tasks/cancel": Verb.MANAGE,
    "tasks/resubscribe": Verb.READ,
    "tasks/pushNotificationConfig/set": Verb.MANAGE,
    "tasks/pushNotificationConfig/get": Verb.READ,
    "tasks/pushNotificationConfig/list": Verb.READ,
    "tasks/pushNotificationConfig/delete": Verb.MANAGE,
    "agent/getAuthenticatedExtendedCard": Verb.READ,
}
MCP_KIND_PREFIX = "run_"  # of the tools of kinds
MCP_KIND = f"{MCP_KIND_PREFIX}*"
MCP_TOOLS: Mapping[str, Verb] = {  # further MCP messages need any verb; the list shows the tools of those verbs
    MCP_KIND: Verb.SUBMIT,  # without `read` the answer is the receipt alone
    "submit": Verb.SUBMIT,  # likewise
    "get_job": Verb.READ,
    "wait_for_job": Verb.READ,
    "list_jobs": Verb.READ,
    "cancel_job": Verb.MANAGE,
    "signal_job": Verb.MANAGE,
    "read_output": Verb.READ,
    "queue": Verb.READ,
    "dead_letters": Verb.READ,
    "replay": Verb.MANAGE,
    "usage": Verb.READ,
    "schedules": Verb.READ,
    "put_schedule": Verb.CONFIGURE,
    "delete_schedule": Verb.CONFIGURE,
    "pause_schedule": Verb.CONFIGURE,
}
_FORMS = {
    route: re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _PARTS.split(route[1])))
    for route in ROUTES
}
STREAMS = frozenset(
    route for route in ROUTES if route[1].endswith(("/events", "/stream"))
)  # answers that outlast their check


def need_of(method: str, template: str) -> Need | None:
    """Return the need of a declared route; None for a route outside the table, which is refused."""
    return ROUTES.get((method, template))


def tool_verb(name: str) -> Verb | None:
    """Return the verb that a tool of MCP needs; None for a name outside the table, which is no tool."""
    return MCP_TOOLS.get(MCP_KIND if name.startswith(MCP_KIND_PREFIX) else name)


def methods_at(path: str) -> list[str]:
    """Return the methods of all routes at a path, sorted."""
    found = {method for (method, _), form in _FORMS.items() if method != "MOUNT" and form.fullmatch(path)}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def routes_in(routes: Iterable[Any]) -> set[tuple[str, str]]:
    """Return method and template of every route of a list; mounted files count as a route of the method MOUNT."""
    found: set[tuple[str, str]] = set()
    for route in routes:
        if hasattr(route, "path"):  # an entry without a path is a router; the router's routes are in the list
            methods = getattr(route, "methods", None) or {"MOUNT"}
            found |= {(method, route.path) for method in methods - {"HEAD"}}
    return found


def verify(routes: Iterable[Any]) -> None:
    """Raise LookupError naming the routes that are missing in the table, and the rows without a route."""
    differ = routes_in(routes) ^ set(ROUTES)
    if differ:
        raise LookupError(f"routes and access/table.py differ: {sorted(differ)}; add or remove the row")
