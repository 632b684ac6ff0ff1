"""Close connections without complete headers after a limit; uvicorn would wait indefinitely.

uvicorn's keep-alive limit takes over after the first complete request.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for request line and headers."""

    header_timeout_s: float = 10.0
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._limit = self.loop.call_later(self.header_timeout_s, self._cut_off)

    def data_received(self, data: bytes) -> None:
        """Stop the timer after complete headers; start the timer when a later request begins."""
        super().data_received(data)
        if self._serving:
            self._stop_clock()
        elif self._limit is None:
            self._limit = self.loop.call_later(self.header_timeout_s, self._cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    @property
    def _serving(self) -> bool:
        """Whether a request has come in and is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _stop_clock(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _cut_off(self) -> None:
        self._limit = None
        if not self._serving:
            self.transport.close()


def protocol(header_timeout_s: float) -> type[HeaderTimeoutProtocol]:
    """Return the protocol with this limit."""
    return type("LimitedProtocol", (HeaderTimeoutProtocol,), {"header_timeout_s": header_timeout_s})
