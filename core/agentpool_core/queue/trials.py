"""When to try a short script again that has refused a call. Used by `consumer`."""

from __future__ import annotations


class Trials:
    """Calls that try a short script first; each failure doubles the number of calls until the next trial, up to 64."""

    MOST = 64

    def __init__(self) -> None:
        self._skips = 0  # calls until the next trial
        self._next = 1

    def is_due(self) -> bool:
        """Count a call; return whether it tries the short script."""
        self._skips -= 1
        return self._skips < 0

    def succeeded(self) -> None:
        """Try with every call."""
        self._skips, self._next = 0, 1

    def failed(self) -> None:
        """Try again later."""
        self._skips = self._next
        self._next = min(2 * self._next, self.MOST)
