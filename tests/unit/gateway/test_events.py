"""The text of an event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobEvent
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.routes.events import _texts


async def unreadable() -> AsyncIterator[JobEvent]:
    """Missed events that Redis does not give."""
    raise QueueError("Redis did not answer")
    yield


async def test_a_stream_whose_events_cannot_be_read_ends():
    """Comments without end would keep the client from connecting again."""
    settings = SimpleNamespace(recheck_s=1_000, heartbeat_s=0.001)
    entry: Any = SimpleNamespace(gateway=SimpleNamespace(draining=Draining(), settings=settings))
    stream = _texts(entry, "/events", unreadable(), lambda _event: True)
    begun = [await anext(stream), await anext(stream, "the end")]
    await stream.aclose()
    assert begun == [": begun\n\n", "the end"]
