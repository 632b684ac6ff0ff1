"""JSON and protobuf: documents of messages, and values of jobs as parts.

Protobuf has only floating-point numbers in free-form JSON. Whole numbers become integers again, so a handler gets the
number that the sender wrote. A value that protobuf cannot hold (half a character, more than 100 levels) becomes text.
"""

from __future__ import annotations

import json
from typing import TypeVar

from a2a.types import Part
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from agentpool_core.document_fields import whole_of
from agentpool_core.documents import Document
from agentpool_core.jobs import Json
from agentpool_core.text import encodable
from agentpool_gateway.a2a.errors import invalid

# Raised for JSON that a message cannot hold; half a character is a ValueError, a whole number beyond floats overflows.
UNFIT = (ParseError, ValueError, OverflowError)
M = TypeVar("M", bound=Message)


def document_of(message: Message) -> Document:
    """Return a message as JSON, by the field names of the specification."""
    found: Document = whole(MessageToDict(message))
    return found


def whole(value: Json) -> Json:
    """Return JSON with integers in place of whole floating-point numbers."""
    if isinstance(value, dict):
        return {name: whole(inner) for name, inner in value.items()}
    return [whole(inner) for inner in value] if isinstance(value, list) else whole_of(value)


def parsed(document: Document, message: M, *, field: str = "params") -> M:
    """Fill a message from JSON; unknown fields are ignored, as the specification wants. Raises InvalidParamsError."""
    try:
        return ParseDict(document, message, ignore_unknown_fields=True)
    except UNFIT as error:
        raise invalid(field, encodable(str(error))[:300].rstrip(".")) from error


def data_part(value: Json) -> Part:
    """Return a part with any JSON."""
    part = Part(media_type="application/json")
    try:
        ParseDict(value, part.data)
    except UNFIT:
        part.text = json.dumps(value)
    return part


def struct_of(document: Document) -> Struct:
    """Return a free-form map, without the entries that protobuf cannot hold."""
    found = Struct()
    for name, value in document.items():
        try:
            ParseDict({name: value}, entry := Struct())
        except UNFIT:
            entry.update({name: json.dumps(value)})
        found.MergeFrom(entry)
    return found


def timestamp_of(at_ms: int) -> Timestamp:
    """Return a time of the Redis clock."""
    found = Timestamp()
    found.FromMilliseconds(at_ms)
    return found
