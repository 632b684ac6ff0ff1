"""Keeps the pauses of Python's garbage collector short, however many pools there are.

A full collection goes through every object that is kept, and stops all else meanwhile: with a thousand pools most of
a second on a busy machine, again and again, for next to nothing, since what the operator keeps is freed by counting
references. So once one has taken long, what survived it is set aside and not gone through again (`gc.freeze`). What is
set aside is still freed by its reference counts.
"""

from __future__ import annotations

import gc
import time

OLDEST = 2  # the generation whose collection is a full one
LONG_S = 0.05  # seconds: a pause that a submit's way to a new size may bear


class ShortPauses:
    """A callback for `gc.callbacks`."""

    def __init__(self) -> None:
        self._began = 0.0  # seconds of the performance counter

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """A collection begins or ends."""
        if info["generation"] != OLDEST:
            return
        if phase == "start":
            self._began = time.perf_counter()
        elif time.perf_counter() - self._began > LONG_S:
            gc.freeze()
