"""A bounded set of kinds with separate counts, because submitters choose kinds freely.

`metrics` labels its series by them, `attempt_log` distributes its lines by them.
"""

from __future__ import annotations

_MOST = 50


class LabelLimiter:
    """The first kinds, each by its own name, and all further kinds under a common name."""

    def __init__(self, *, others: str) -> None:
        self._others = others
        self._known: set[str] = set()

    def name(self, kind: str) -> str:
        """Return the name under which this kind is counted."""
        if kind not in self._known:
            if len(self._known) >= _MOST:
                return self._others
            self._known.add(kind)
        return kind
