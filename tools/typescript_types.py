"""TypeScript types of the API's named schemas, for `clients/typescript`. `generate.py` writes them.

Written here, not by a program for Node, so that `make verify` finds an outdated file without Node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openapi_document import description

BANNER = (
    "// Generated from the gateway's OpenAPI description by `make generate`; change schemas.py there, not this file.\n"
)
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
LEFT_OUT = ("A2A", "HTTPValidationError", "ValidationError")  # prefixes of names that the client does not need


def types() -> str:
    """Return the whole file."""
    found = description()
    schemas = {name: each for name, each in found["components"]["schemas"].items() if not name.startswith(LEFT_OUT)}
    return "\n".join((BANNER, *(_declaration(name, schema) for name, schema in sorted(schemas.items()))))


def _declaration(name: str, schema: dict[str, Any]) -> str:
    if "properties" in schema:
        return f"export interface {name} {_object(schema, '')}\n"
    return f"export type {name} = {_type(schema, '')};\n"


def _object(schema: dict[str, Any], indent: str) -> str:
    return "\n".join(("{", *_fields(schema, indent + "  "), indent + "}"))


def _fields(schema: dict[str, Any], indent: str) -> Iterator[str]:
    needed = schema.get("required", ())
    for name, each in schema["properties"].items():
        if text := each.get("description"):
            yield f"{indent}/** {text} */"
        yield f"{indent}{name}{'' if name in needed else '?'}: {_type(each, indent)};"


def _type(schema: dict[str, Any], indent: str) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " | ".join(dict.fromkeys(_type(choice, indent) for choice in choices))
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return " | ".join(_type({**schema, "type": kind}, indent) for kind in kinds)
    return _of_kind(kinds, schema, indent)


def _of_kind(kind: str, schema: dict[str, Any], indent: str) -> str:
    if kind == "array":
        return f"Array<{_type(schema.get('items', {}), indent)}>"
    if kind != "object":
        return PLAIN.get(kind, "unknown")
    if "properties" in schema:
        return _object(schema, indent)
    values = schema.get("additionalProperties")
    return f"Record<string, {_type(values, indent) if isinstance(values, dict) else 'unknown'}>"
