"""Fields of JSON documents: readers that refuse a wrong value by the name of its field. Used by `documents`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from agentpool_core.durations import FORMS, milliseconds
from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import JobId, Json
from agentpool_core.queue.codec.json_text import MOST_EXACT


def check_fields(what: str, document: Json, known: Collection[str], example: str) -> Mapping[str, Json]:
    """Return a document that is an object of known fields. Raises InvalidJobError; `example` is the remedy."""
    if not isinstance(document, Mapping):
        raise refused(what, document, "not a JSON object", example)
    for name in document:
        if name not in known:
            raise refused(str(name), document[name], "no such field", f"use {', '.join(known)}")
    return document


def refused(field: str, value: object, problem: str, remedy: str) -> InvalidJobError:
    """Return the error for a field."""
    return InvalidJobError(field=field, value=value, problem=problem, remedy=remedy)


def read_text(field: str, value: Json) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise refused(field, value, "not a text", "send a JSON string that is not empty")
    return value


def read_optional_text(field: str, value: Json) -> str | None:
    """Return a text, or None."""
    return None if value is None else read_text(field, value)


def whole_of(value: Json) -> Json:
    """Return the int for 5.0, which JSON Schema and many languages take for a whole number; else the same value."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_EXACT:
        return int(value)
    return value


def read_whole(field: str, value: Json) -> int:
    """Return a whole number of at least 0."""
    value = whole_of(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refused(field, value, "not a whole number of at least 0", "send an integer")
    return value


def read_optional_whole(field: str, value: Json) -> int | None:
    """Return a whole number, or None."""
    return None if value is None else read_whole(field, value)


def read_duration_ms(field: str, value: Json) -> int | None:
    """Return milliseconds of a number of seconds, or of a text such as 30s."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value * 1_000 < math.inf:
        return round(value * 1_000)
    if isinstance(value, str) and (found := milliseconds(value)) is not None:
        return found
    raise refused(field, value, "not a duration", f"send seconds as a number, or a text such as {FORMS}")


def read_delay_ms(field: str, value: Json) -> int:
    """Return milliseconds; 0 for null."""
    return read_duration_ms(field, value) or 0


def read_flag(field: str, value: Json) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise refused(field, value, "not a boolean", "send true or false")
    return value


def read_job_ids(field: str, value: Json) -> tuple[JobId, ...]:
    """Return the job ids of a list."""
    if not isinstance(value, list):
        raise refused(field, value, "not a list", "send a JSON array of job ids")
    return tuple(JobId(read_text(f"{field}[{place}]", item)) for place, item in enumerate(value))


def read_texts(field: str, value: Json) -> tuple[str, ...]:
    """Return the texts of a list."""
    if not isinstance(value, list):
        raise refused(field, value, "not a list", "send a JSON array of texts")
    return tuple(read_text(f"{field}[{place}]", item) for place, item in enumerate(value))


def read_headers(field: str, value: Json) -> dict[str, str]:
    """Return an object of trace headers."""
    if not isinstance(value, Mapping):
        raise refused(field, value, "not a JSON object", "send an object of W3C trace headers")
    return {read_text(field, name): read_text(f"{field}.{name}", text) for name, text in value.items()}


def read_anything(field: str, value: Json) -> Json:
    """Return the value as it is."""
    del field
    return value
