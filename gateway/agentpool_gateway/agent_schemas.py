"""JSON Schemas of what agents send and get by A2A and MCP: data only. `schemas` has those of the API itself."""

from __future__ import annotations

from collections.abc import Iterable

from agentpool_gateway.schemas import ANYTHING, COUNT, CURSOR, FLAG, TEXT, Schema, record, rows


def a2a_call(methods: Iterable[str]) -> Schema:
    """Return the schema of a JSON-RPC call of one of these methods."""
    return {
        "type": "object",
        "required": ["jsonrpc", "method"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["string", "integer", "null"]},
            "method": {"type": "string", "enum": list(methods)},
            "params": {"type": "object"},
        },
    }


A2A_ANSWER: Schema = {
    "type": "object",
    "required": ["jsonrpc", "id"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": ANYTHING,
        "result": ANYTHING,  # mostly an object; of 0.3 also a list, or null
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": TEXT},
        },
    },
}
MCP_MESSAGE: Schema = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer"]},
        "method": {"type": "string", "examples": ["initialize", "tools/list", "tools/call"]},
        "params": {"type": "object"},
    },
}
A2A_DOCUMENT: Schema = {"type": "object", "description": "As the specification of A2A 1.0 has it."}
A2A_MESSAGE: Schema = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": {
            "type": "object",
            "required": ["messageId", "role", "parts"],
            "properties": {
                "messageId": {"type": "string", "minLength": 1},
                "contextId": TEXT,
                "taskId": TEXT,
                "role": {"type": "string", "enum": ["ROLE_USER", "ROLE_AGENT"]},
                "parts": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "properties": {"text": TEXT, "data": ANYTHING}},
                },
                "metadata": {"type": "object"},
            },
        },
        "configuration": {"type": "object", "properties": {"returnImmediately": FLAG, "historyLength": COUNT}},
        "metadata": {"type": "object"},
    },
}
_HEADER: Schema = {"type": "string", "pattern": "^[ -~]{0,4096}$"}
A2A_CONFIG: Schema = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "id": TEXT | {"description": "Made from the URL if absent."},
        "url": {"type": "string", "format": "uri", "description": "At a host that the gateway's owner allows."},
        "token": _HEADER,
        "authentication": {"type": "object", "properties": {"scheme": _HEADER, "credentials": _HEADER}},
    },
}
A2A_ERROR = record(error=record(code={"type": "integer"}, status=TEXT, message=TEXT, details=rows({"type": "object"})))
KEYS = record(keys=rows({"type": "object", "description": "A JSON Web Key."}))
AGENTS = record(agents=rows(record(name=TEXT, url=TEXT, card=TEXT)), cursor=CURSOR)
CARD = record(
    name=TEXT, description=TEXT, supportedInterfaces=rows({"type": "object"}), skills=rows({"type": "object"})
)
