"""Draining: stop a gateway without dropping a request.

At SIGTERM readiness fails, and the gateway serves on for a while, because load balancers react late; each answer asks
its client to reconnect. Then streams and long-polls end, to be resumed elsewhere, and no connection is accepted any
more. `server` ends the process after the open requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from agentpool_core.process.cancellation import end

T = TypeVar("T")


class Draining:
    """State of a gateway that is shutting down."""

    def __init__(self) -> None:
        self.begun = False  # not ready; requests are served
        self._closing = asyncio.Event()  # whatever waits ends now

    def begin(self) -> None:
        """Report not ready from now on."""
        self.begun = True

    def close(self) -> None:
        """End streams and long-polls."""
        self.begun = True
        self._closing.set()

    async def unless_closing(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of the work, or None if the gateway closes first; either way the work has ended."""
        task, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            closing.cancel()  # both at once: a second cancellation would interrupt the waits
            task.cancel()
            await end(closing)
            await end(task)
