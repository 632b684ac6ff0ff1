"""Streams of both bindings as Server-Sent Events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from a2a.types import StreamResponse
from a2a.utils.errors import A2AError
from starlette.responses import StreamingResponse

from agentpool_core.documents import Document
from agentpool_core.errors import AgentPoolError
from agentpool_gateway.a2a.errors import fault_of, refusal_of
from agentpool_gateway.a2a.streams import Updates
from agentpool_gateway.access.admission import Admission
from agentpool_gateway.routes.event_feed import HEADERS, SILENCE


async def stream_response(
    admission: Admission,
    updates: Updates,
    *,
    result: Callable[[StreamResponse], Document],
    refused: Callable[[A2AError], Document],
) -> StreamingResponse:
    """Return the stream, each update as `result` writes it; an error ends it as `refused` writes it."""
    texts = _texts(admission, updates, result, refused)
    return StreamingResponse(texts, media_type="text/event-stream", headers=HEADERS)


async def _texts(
    admission: Admission,
    updates: Updates,
    result: Callable[[StreamResponse], Document],
    refused: Callable[[A2AError], Document],
) -> AsyncGenerator[str, None]:
    with admission.gateway.metrics.streams.track_inprogress():
        async with aclosing(updates):
            try:
                async for update in updates:
                    yield SILENCE if update is None else _event(result(update))
            except A2AError as error:
                yield _event(refused(fault_of(error)))
            except AgentPoolError as error:
                yield _event(refused(refusal_of(error)))


def _event(document: Document) -> str:
    """Return an event; JSON has no raw line breaks, so data cannot forge a field."""
    return f"data: {json.dumps(document)}\n\n"
