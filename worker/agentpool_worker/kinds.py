"""Kinds of jobs that are counted apart: so many and no more, for submitters choose kinds freely.

Who takes over next: `metrics` labels its series by them, `failures` shares out its lines by them.
"""

from __future__ import annotations

_MOST = 50


class BoundedKinds:
    """The first kinds that come, each by its own name, and all others under one."""

    def __init__(self, *, others: str) -> None:
        self._others = others
        self._known: set[str] = set()

    def name(self, kind: str) -> str:
        """The name under which this kind is counted."""
        if kind not in self._known:
            if len(self._known) >= _MOST:
                return self._others
            self._known.add(kind)
        return kind
