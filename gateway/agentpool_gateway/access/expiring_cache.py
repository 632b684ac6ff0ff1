"""Answers kept for a while: bounded in number and in time, the oldest forgotten first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ExpiringCache(Generic[T]):
    """At most `most` answers, each for `seconds`."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._answers: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()  # until when, answer

    def get(self, question: Hashable) -> T | None:
        """Return an answer that is still valid, or None."""
        found = self._answers.get(question)
        return found[1] if found and found[0] > time.monotonic() else None

    def keep(self, question: Hashable, answer: T) -> None:
        """Keep an answer from now on."""
        self._answers[question] = (time.monotonic() + self._seconds, answer)
        self._answers.move_to_end(question)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
