"""Keep the pauses of Python's garbage collector short, for any number of pools.

A full collection visits every live object and stops everything else meanwhile: with a thousand pools most of a second
on a busy machine, repeatedly, for little gain, because the operator's objects are freed by reference counts. So after a
slow collection the survivors are set aside and not visited again (`gc.freeze`). They are still freed by their reference
counts.
"""

from __future__ import annotations

import gc
import time

OLDEST = 2  # the generation of a full collection
LONG_PAUSE_SECONDS = 0.05  # an acceptable pause between a submit and a new size


class ShortPauses:
    """A callback for `gc.callbacks`."""

    def __init__(self) -> None:
        self._began = 0.0  # seconds of the performance counter

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Handle the beginning or the end of a collection."""
        if info["generation"] != OLDEST:
            return
        if phase == "start":
            self._began = time.perf_counter()
        elif time.perf_counter() - self._began > LONG_PAUSE_SECONDS:
            gc.freeze()
