"""Turn Ctrl-C, SIGTERM and SIGHUP into an orderly end of the main task.

The first signal cancels the task; its `finally` blocks then stop everything in order; a second signal calls `hurry`.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Signal handlers while the context is open. `received` names the first signal; None: none came."""

    def __init__(self, *, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._task: asyncio.Task[object] | None = None
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._take, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.remove_signal_handler(number)

    def _take(self, number: signal.Signals) -> None:
        if self.received is not None:
            self._hurry()
            return
        self.received = number
        if self._task is not None:
            self._task.cancel()
