"""The page of the HTTP API, from the gateway's own OpenAPI description. `generate.py` writes the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from openapi_document import description

from agentpool_gateway.description import TAGS

HEAD = """\
# HTTP API

Every call of the gateway, generated from its OpenAPI description by `make generate`. A running gateway serves the
description as `/openapi.json`, with the schema of every body and answer, and as a page at `/docs/`. [Submit
jobs](../submit.md#over-http) has commands to try.

`POOL` stands for `/v1/namespaces/NAMESPACE/pools/NAME`. A request carries `Authorization: Bearer TOKEN`, and the token
needs the [verb](../submit.md#tokens-outside-of-agentpool-dev) of the call:

| needs | meaning |
|---|---|
| `read`, `submit`, `manage`, `configure` | this verb, in the namespace of the pool |
| `any-verb` | any of the four, in the namespace of the pool |
| `known` | any valid token; the answer has only the objects that the token may see |
| `by-method` | the verb of the method or tool that the body names |
| `public` | no token |

Parameters with a capital letter, and `traceparent`, are headers; the others are of the query. [Errors](#errors) that
every call may answer are not repeated."""
SENT = """\
## Messages that the gateway sends

Signed `POST` requests to the addresses of [webhooks](../submit.md#webhooks) and of A2A's push notifications; the
description has their bodies under `webhooks`, such as `CloudEvent`."""
POOL = "/v1/namespaces/{namespace}/pools/{pool}"
BODY_ERRORS = ("408", "413", "415")
SHOWN = ("JobRequest", "CancelSelector", "Job", "CloudEvent", "Problem")  # schemas with a table of fields
Call = tuple[str, str, dict[str, Any]]  # method, path, operation
Answer = tuple[str, str]  # status, meaning


def reference() -> str:
    """Return the whole page."""
    found = description()
    calls = [(method.upper(), path, each) for path, below in found["paths"].items() for method, each in below.items()]
    errors = sorted(_common(calls) | _of_bodies(calls))
    parts = [HEAD]
    for tag in TAGS:
        rows = [_row(call, set(errors)) for call in calls if call[2]["tags"] == [tag["name"]]]
        parts.append(f"## {_title(tag['name'])}\n\n{tag['description']}")
        parts.append(_table("call | needs | purpose | parameters | answers", rows))
    for name in SHOWN:
        parts += [f"## {name}", _table("field | type | meaning", _fields(found["components"]["schemas"][name]))]
    rows = [_message_row(each["post"]) for each in found["webhooks"].values()]
    parts += [SENT, _table("message | body | answers of the receiver", rows)]
    rows = [f"{status} | {text}{' Calls with a body only.' * (status in BODY_ERRORS)}" for status, text in errors]
    parts += ["## Errors\n\nProblem details (RFC 9457), each with a `remedy`.", _table("status | meaning", rows)]
    return "\n\n".join(parts) + "\n"


def _title(tag: str) -> str:
    return tag.upper() if tag in {"a2a", "mcp"} else tag.capitalize()


def _table(head: str, rows: list[str]) -> str:
    rule = "|".join("---" for _ in head.split("|"))
    return "\n".join((f"| {head} |", f"|{rule}|", *(f"| {row} |" for row in rows)))


def _common(calls: list[Call]) -> set[Answer]:
    """Return the errors that every call with a token may answer."""
    found = [set(_answers(operation)) for _, _, operation in calls if "x-agentpool-verb" in operation]
    return {answer for answer in set.intersection(*found) if answer[0] >= "400"}


def _of_bodies(calls: list[Call]) -> set[Answer]:
    return {answer for _, _, operation in calls for answer in _answers(operation) if answer[0] in BODY_ERRORS}


def _answers(operation: dict[str, Any]) -> Iterator[Answer]:
    for status, answer in operation["responses"].items():
        yield str(status), _cell(answer["description"])


def _row(call: Call, errors: set[Answer]) -> str:
    method, path, operation = call
    need = operation.get("x-agentpool-verb", "public")
    own = [f"{status}: {text}" for status, text in sorted(_answers(operation)) if (status, text) not in errors]
    purpose = _cell(operation.get("summary", ""))
    parameters = ", ".join(_parameters(operation))
    return f"`{method} {path.replace(POOL, 'POOL')}` | `{need}` | {purpose} | {parameters} | {'<br>'.join(own)}"


def _message_row(operation: dict[str, Any]) -> str:
    kinds = ", ".join(f"`{kind}`" for kind in operation["requestBody"]["content"])
    answers = "<br>".join(f"{status}: {text}" for status, text in _answers(operation))
    return f"{operation['summary']} | {kinds} | {answers}"


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    for kind in operation.get("requestBody", {}).get("content", ()):
        yield f"body: `{kind}`"
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "path":
            yield f"`{parameter['name']}`"


def _fields(schema: dict[str, Any]) -> list[str]:
    needed = set(schema.get("required", ()))
    needed = set() if needed == set(schema["properties"]) else needed  # an answer with all of its fields
    return [
        f"`{name}`{' (required)' * (name in needed)} | {_type_of(each)} | {_cell(each.get('description', ''))}"
        for name, each in schema["properties"].items()
    ]


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_type_of(choice) for choice in choices)
    kinds = schema.get("type", "any JSON")
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
