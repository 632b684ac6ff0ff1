"""The history of a schedule: lines with the virtual time, the place and the event. Equal seeds give equal bytes.

The product's own warnings are lines too. Addresses of objects are no part of a history, and are left out.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.simulation.virtual_loop import here

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_PRODUCT = ("agentpool_core", "agentpool_worker", "agentpool_operator", "agentpool_gateway")


class Story:
    """Lines in the order of the events."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: list[tuple[float, str, str]] = []
        self.closed = False

    def add(self, place: str, text: str) -> None:
        """Add a line."""
        if not self.closed:
            self._lines.append((self._clock(), place, text))

    def mentions(self, text: str) -> Iterator[str]:
        """Yield the lines with a text."""
        return (line for _, _, line in self._lines if text in line)

    def lines(self) -> Iterator[str]:
        """Yield the lines as text."""
        for at, place, text in self._lines:
            head, *rest = _ADDRESS.sub("0x…", text).rstrip().split("\n")
            yield f"{at:10.4f}  {place:12} {head}"
            yield from (f"{'':24} {line}" for line in rest)

    def digest(self) -> str:
        """Return a digest of all bytes."""
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()[:16]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the product's warnings in."""
        handler = _Lines(self)
        loggers = [logging.getLogger(name) for name in _PRODUCT]
        before = [(logger.level, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            logger.propagate = False
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)
                logger.propagate = propagate


class _Lines(logging.Handler):
    def __init__(self, story: Story) -> None:
        super().__init__(logging.WARNING)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        machine = here()
        self._story.add(machine.name if machine else "-", f"log: {record.getMessage()}")
