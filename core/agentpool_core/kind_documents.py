"""Kinds of job as documents: the route and the schemas of each. For the HTTP API, agent cards and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.codec.json_text import parse

if TYPE_CHECKING:
    from agentpool_core.documents import Document
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.settings import PoolSettings


def schema_in(text: str | None) -> Document | None:
    """Return a published schema; None without one, and for a text that is none, which would hide all other kinds.

    Submits of such a kind are refused, and the error names the schema.
    """
    try:
        found = None if text is None else parse("schema", text)
    except (ValueError, InvalidJobError):
        return None
    return found if isinstance(found, dict) else None


def kind_document(settings: PoolSettings, kind: str) -> Document:
    """Return route and schemas of a kind; a schema is null where any value is accepted."""
    schema = settings.schema_of(kind)
    return {
        "route": settings.route_of(kind),
        "input": schema_in(schema.input),
        "output": schema_in(schema.output),
    }


def kinds_document(settings: PoolSettings, pool: PoolRef) -> Document:
    """Return the kinds that the routes list."""
    kinds = dict.fromkeys(kind for route in settings.routes for kind in route.kinds)
    return {
        "pool": str(pool),
        "unlisted_kinds": "refuse" if settings.refuse_unlisted_kinds else "accept",
        "kinds": [{"kind": kind} | kind_document(settings, kind) for kind in kinds],
    }
