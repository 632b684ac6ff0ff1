"""Plausibility of a queue's reading. Pure.

A pool may name any server, and a user of that server may have written anything. Impossible figures would lead to wrong
decisions, a status that the API server refuses, or metrics that Prometheus cannot read, for all pools at once. So every
field of a reading is checked, by its type. `reader` checks each reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError
from agentpool_core.queue.codec.json_text import MOST_EXACT

if TYPE_CHECKING:
    from agentpool_core.queue.snapshots import QueueSnapshot

MOST_ROUTES = 64  # of a pool, and limits; its spec has 16, and routes of an earlier spec may still hold jobs
MOST_WORKERS = 20_000  # of a pool: twice the limit of the spec
LONGEST_NAME = 253  # characters
LONGEST_SENTENCE = 1_000  # characters of a worker's note, and of a bound in words
_SENTENCES = frozenset({"note", "text"})


def check(snapshot: QueueSnapshot) -> None:
    """Raise QueueError for an impossible reading; the message contains nothing from the server."""
    if len(snapshot.workers) > MOST_WORKERS or len(snapshot.cordoned) > MOST_WORKERS:
        raise QueueError(f"the queue has more than {MOST_WORKERS} workers, which cannot be true")
    for parts in (snapshot.routes, snapshot.limits):
        if len(parts) > MOST_ROUTES:
            raise QueueError(f"the queue has more than {MOST_ROUTES} routes or limits, which cannot be true")
        if len({part.name for part in parts}) < len(parts):
            raise QueueError("two routes or two limits of the queue have the same name, which cannot be true")
    for field, value in _values(snapshot):
        if isinstance(value, str) and not _is_text(field, value):
            raise QueueError("a name in the queue is not a text of a possible length")
        if not isinstance(value, str) and not _is_figure(field, value):
            raise QueueError("a figure of the queue is not a whole number of a possible size")


def _values(part: Any) -> Iterator[tuple[Field[Any], object]]:
    """Yield every single value in a reading, with the field that holds it."""
    for field in _fields(part.__class__):
        value = getattr(part, field.name)
        if isinstance(value, Mapping):
            value = tuple(value.values())
        for item in value if isinstance(value, tuple | frozenset) else (value,):
            if is_dataclass(item):
                yield from _values(item)
            else:
                yield field, item


@cache
def _fields(kind: type[Any]) -> tuple[Field[Any], ...]:
    return fields(kind)


def _is_text(field: Field[Any], text: str) -> bool:
    """Report whether the text has a possible length in a field for texts, and can be written as UTF-8."""
    longest = LONGEST_SENTENCE if field.name in _SENTENCES else LONGEST_NAME
    return len(text) <= longest and not _is_number(field) and _encodes(text)


def _encodes(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _is_figure(field: Field[Any], figure: object) -> bool:
    """Report whether the figure is possible in its field; None: the field allows that there is none."""
    if figure is None:
        return "None" in str(field.type)
    if isinstance(figure, float):
        return math.isfinite(figure)
    if isinstance(figure, bool):
        return str(field.type) == "bool"
    return isinstance(figure, int) and _is_number(field) and abs(figure) <= MOST_EXACT


def _is_number(field: Field[Any]) -> bool:
    return "int" in str(field.type) or "float" in str(field.type)
