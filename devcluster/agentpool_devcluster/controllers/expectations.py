"""Requested but not yet observed creations and deletions, so a stale cache never causes a second request.

A controller that created three pods and reads a cache without them would create three more. Instead the controller
records three expected creations, acts again when all have been observed, and drops the record after a timeout in case
an event was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool_devcluster.kube.objects import ObjectKey, Uid

PATIENCE_SECONDS = 300.0


@dataclass(slots=True)
class _Expected:
    since: float  # clock seconds
    creations: int = 0  # not yet observed
    deletions: set[Uid] = field(default_factory=set)  # not yet observed


class Expectations:
    """Outstanding creations and deletions by owner. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expected: dict[ObjectKey, _Expected] = {}

    def met(self, owner: ObjectKey) -> bool:
        """Return whether all expected changes were observed, or the timeout is over."""
        expected = self._expected.get(owner)
        if expected is None:
            return True
        done = expected.creations <= 0 and not expected.deletions
        return done or self._clock() - expected.since > PATIENCE_SECONDS

    def expect_creations(self, owner: ObjectKey, count: int) -> None:
        """Expect the creation of `count` objects."""
        self._entry(owner).creations += count

    def expect_deletions(self, owner: ObjectKey, uids: Iterable[Uid]) -> None:
        """Expect the deletion of these objects."""
        self._entry(owner).deletions.update(uids)

    def creation_seen(self, owner: ObjectKey) -> None:
        """Record a creation that was observed in the cache, or that failed."""
        expected = self._expected.get(owner)
        if expected is not None:
            expected.creations = max(expected.creations - 1, 0)

    def deletion_seen(self, owner: ObjectKey, uid: Uid) -> None:
        """Record a deletion that was observed in the cache, or that failed."""
        expected = self._expected.get(owner)
        if expected is not None:
            expected.deletions.discard(uid)

    def forget(self, owner: ObjectKey) -> None:
        """Forget a removed owner."""
        self._expected.pop(owner, None)

    def _entry(self, owner: ObjectKey) -> _Expected:
        if self.met(owner):
            self._expected[owner] = _Expected(since=self._clock())
        return self._expected[owner]
