"""Event loop and process of a client's connections, which hang or do harm elsewhere.

A client is created once and often used elsewhere: in the next `asyncio.run`, or in a process forked by a web server.
`pools` forgets its connections then.
"""

from __future__ import annotations

import asyncio
import os
from enum import Enum

from agentpool_core.errors import ForeignLoopError


class Use(Enum):
    """Where a client is used, compared with the last time."""

    SAME = "same"  # or the first use
    NEXT_LOOP = "next loop"  # the former does not run any more
    FORKED = "forked"  # the connections are the parent's


class Owner:
    """The loop and the process of a client."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None  # None until the first use

    def check(self) -> Use:
        """Compare, and take over; call it in a running loop. Raises ForeignLoopError for two concurrent loops."""
        loop = asyncio.get_running_loop()
        process = os.getpid()
        if loop is self._loop and process == self._process:
            return Use.SAME
        former, self._loop = self._loop, loop
        if process != self._process:
            self._process = process
            return Use.FORKED
        if former is None:
            return Use.SAME
        if former is not loop and former.is_running():
            self._loop = former
            raise ForeignLoopError
        return Use.NEXT_LOOP
