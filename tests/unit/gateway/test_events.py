"""The text of an event stream."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobEvent
from agentpool_core.queue.chunks import Chunk
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.pools.output_hub import Page
from agentpool_gateway.routes import events


async def unreadable() -> AsyncIterator[JobEvent]:
    """Missed events that Redis does not give."""
    raise QueueError("Redis did not answer")
    yield


async def test_a_stream_whose_events_cannot_be_read_ends():
    """Comments without end would keep the client from connecting again."""
    settings = SimpleNamespace(recheck_s=1_000, heartbeat_s=0.001)
    entry: Any = SimpleNamespace(gateway=SimpleNamespace(draining=Draining(), settings=settings))
    stream = events._texts(entry, "/events", unreadable(), lambda _event: True)
    begun = [await anext(stream), await anext(stream, "the end")]
    await stream.aclose()
    assert begun == [": begun\n\n", "the end"]


def test_the_text_of_a_page_is_made_once_and_goes_with_the_page():
    """Readers of a job share the text; a page has up to 2 MiB, so none is kept after its readers."""
    chunk = Chunk(id="1-0", run=1, attempt=1, number=1, value="x")
    page = Page(chunks=[chunk], last="1-0")
    assert events._text_of_page(page) is events._text_of_page(page)
    del page
    gc.collect()
    assert not events._page_texts
