"""Decode protobuf request bodies: kubectl's typed commands send nothing else.

Only the field numbers are particular to protobuf (`numbers.txt`); names and types come from the schemas that also
validate. Answers are always JSON, which the same clients accept. Fields outside the table are refused.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from agentpool_devcluster.api.errors import bad_request, unsupported_media_type
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.schema.builtin import builtin
from agentpool_devcluster.api.schema.node import Schema

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_OTHER_KINDS: Mapping[tuple[str, str], str] = {  # kinds that are sent but are no resources of their own
    ("policy/v1", "Eviction"): "V1Eviction",
    ("authentication.k8s.io/v1", "TokenRequest"): "AuthenticationV1TokenRequest",
    ("autoscaling/v1", "Scale"): "V1Scale",
    ("v1", "Binding"): "V1Binding",
}
# Fields that Go writes even if unset; their zero means absent.
_ZERO_MEANS_ABSENT = frozenset({
    "minReadySeconds", "hostPort", "nodePort", "targetPort", "hostNetwork", "hostPID", "hostIPC", "stdin",
    "stdinOnce", "tty", "generation", "observedGeneration", "paused", "readOnly", "initialDelaySeconds",
    "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold", "publishNotReadyAddresses",
    "healthCheckNodePort", "allowWatchBookmarks", "startupProbe", "count", "manualSelector",
})  # fmt: skip

FindSchema = Callable[[str, str], Schema | None]  # apiVersion, kind -> schema


def decode_protobuf(text: bytes, find: FindSchema) -> Json:
    """Return the object of a protobuf body. Raises 400 or 415 refusals."""
    if not text.startswith(_MAGIC):
        raise bad_request("the protobuf body does not start with the Kubernetes prefix")
    envelope = dict(_fields(text[len(_MAGIC) :]))
    kind_fields = dict(_fields(_bytes(envelope.get(1, b""))))
    api_version, kind = (_bytes(kind_fields.get(number, b"")).decode() for number in (1, 2))
    other = _OTHER_KINDS.get((api_version, kind))
    schema = (
        builtin("V1DeleteOptions") if kind == "DeleteOptions" else builtin(other) if other else find(api_version, kind)
    )
    if schema is None or not _table().get(_type_of(schema)):
        raise unsupported_media_type(
            f"the devcluster does not read {kind} ({api_version}) from protobuf; send application/json"
        )
    body = _message(_bytes(envelope.get(2, b"")), schema, _type_of(schema))
    return {"apiVersion": api_version, "kind": kind, **body}


@cache
def _table() -> dict[str, dict[int, tuple[str, str]]]:
    """Return, for each type and field number, the field's name or the type that replaces the field."""
    found: dict[str, dict[int, tuple[str, str]]] = {}
    text = resources.files(__package__ or "").joinpath("numbers.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, *entries = line.split()
        numbers = found[name] = {}
        for entry in entries:
            if "@" in entry:
                number, _, inlined = entry.partition("@")
                numbers[int(number)] = ("", inlined)
            else:
                number, _, field = entry.partition(":")
                numbers[int(number)] = (field, "")
    return found


def _type_of(schema: Schema) -> str:
    return schema.reference.rpartition(".")[2]


def _fields(text: bytes) -> Iterator[tuple[int, bytes | int]]:
    position = 0
    try:
        while position < len(text):
            tag, position = _varint(text, position)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, position = _varint(text, position)
                yield number, value
            elif wire == _BYTES:
                length, position = _varint(text, position)
                yield number, text[position : position + length]
                position += length
            else:
                width = 8 if wire == _FIXED64 else 4 if wire == _FIXED32 else 0
                if not width:
                    raise bad_request(f"malformed protobuf: unknown wire type {wire}")
                yield number, text[position : position + width]
                position += width
    except IndexError:
        raise bad_request("malformed protobuf: the body ends in the middle of a field") from None


def _varint(text: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = text[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that more follows
            return value, position


def _bytes(value: bytes | int) -> bytes:
    return value if isinstance(value, bytes) else b""


def _message(text: bytes, schema: Schema, type_name: str) -> Json:
    body: Json = {}
    for number, value in _fields(text):
        name, inlined = _table().get(type_name, {}).get(number, ("", ""))
        if inlined:
            body.update(_message(_bytes(value), schema, inlined))
        field = schema.field(name) if name else None
        if field is None:
            continue
        _set(body, name, value, field)
    return body


def _set(body: Json, name: str, value: bytes | int, field: Schema) -> None:
    if field.type == "array" and field.items is not None:
        body.setdefault(name, []).append(_value(value, field.items))
    elif field.type == "object" and field.additional is not None and not field.properties:
        entry = dict(_fields(_bytes(value)))
        key = _bytes(entry.get(1, b"")).decode()
        body.setdefault(name, {})[key] = _value(entry.get(2, b""), field.additional)
    else:
        found = _value(value, field)
        if found in ("", None) or (not found and name in _ZERO_MEANS_ABSENT):
            return
        body[name] = found


def _value(value: bytes | int, schema: Schema) -> Any:
    if isinstance(value, int):
        return _number(value, schema)
    if schema.quantity:
        return _bytes(dict(_fields(value)).get(1, b"")).decode()
    if schema.int_or_string:
        return _int_or_string(value)
    if schema.reference:
        return _message(value, schema, _type_of(schema))
    return _scalar(value, schema)


def _scalar(value: bytes, schema: Schema) -> Any:
    if schema.type == "number":
        return struct.unpack("<d", value)[0]
    if schema.type != "string":
        return None  # free-form fields, such as managedFields, are the server's own business
    form = schema.keywords.get("format")
    if form == "date-time":
        return _moment(value)
    return base64.b64encode(value).decode() if form == "byte" else value.decode()


def _number(value: int, schema: Schema) -> Any:
    if schema.type == "boolean":
        return bool(value)
    return value - (1 << 64) if value >> 63 else value


def _int_or_string(value: bytes) -> Any:
    parts = dict(_fields(value))
    if parts.get(1, 0) == 1:
        return _bytes(parts.get(3, b"")).decode()
    number = parts.get(2, 0)
    return _number(number, Schema(type="integer")) if isinstance(number, int) else 0


def _moment(value: bytes) -> str | None:
    parts = dict(_fields(value))
    seconds, nanos = parts.get(1), parts.get(2, 0)
    if not isinstance(seconds, int) or seconds >> 63:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if isinstance(nanos, int) and nanos else f"{text}Z"
