"""JSON Schemas of conditions that select jobs, as the HTTP API and the MCP tools describe them."""

from __future__ import annotations

from collections.abc import Sequence

from agentpool_core.jobs import MOST_TAGS, TAG_PATTERN, JobState
from agentpool_core.queue import selection
from agentpool_core.queue.selector import LATEST_MS, MOST_NAMES
from agentpool_gateway.schemas import STATE, TEXT, Schema, rows

_ERROR_TEXT: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 2_000}
_MOMENT: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": LATEST_MS}
_ANY_NAME: Schema = rows(TEXT | {"minLength": 1}) | {"maxItems": MOST_NAMES, "description": "Any of these."}
CONDITIONS: dict[str, Schema] = {
    "state": rows(STATE) | {"description": "Any of these."},
    "kind": _ANY_NAME,
    "route": _ANY_NAME,
    "tenant": _ANY_NAME,
    "tag": rows({"type": "string", "pattern": f"^{TAG_PATTERN}$"})
    | {"maxItems": MOST_TAGS, "description": "All of these."},
    "submitted_after_ms": _MOMENT | {"description": "At this time or later."},
    "submitted_before_ms": _MOMENT | {"description": "Before this time."},
    "error": _ERROR_TEXT | {"description": "Text that the last error of the job contains."},
    "error_group": _ERROR_TEXT | {"description": "Exactly the errors of this group, the `error` of a FailureGroup."},
}
CONTINUED: Schema = {"type": ["string", "null"], "description": "Of the answer before."}


def _given(name: str) -> Schema:
    """Return the schema of an object in which this condition is not empty."""
    least: Schema = {"minItems": 1} if CONDITIONS[name]["type"] == "array" else {"not": {"type": "null"}}
    return {"required": [name], "properties": {name: least}}


def _selector(states: Sequence[JobState], **more: Schema) -> Schema:
    """Return the schema of a selector of jobs in these states."""
    state = rows(STATE | {"enum": [each.value for each in states]}) | {"description": "Any of these."}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "Conditions that a selected job meets, all of them; at least one that is not empty.",
        "properties": CONDITIONS | {"state": state, "cursor": CONTINUED, **more},
        "anyOf": [_given(name) for name in CONDITIONS],
    }


CANCEL_SELECTOR = _selector(
    selection.Change.CANCEL.states, reason=TEXT | {"maxLength": 2_000, "description": "Kept with the job."}
)
REPLAY_SELECTOR = _selector(selection.Change.REPLAY.states)
PURGE_SELECTOR = _selector(selection.Change.PURGE.states)
