"""What a controller has asked for and not yet seen, so that a stale cache never makes it ask twice.

A controller that created three pods and reads a cache without them would create three more. Instead it notes three
creations, acts again only when all have been seen, and forgets the note after a while in case an event was lost.
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
    creations: int = 0  # still to be seen
    deletions: set[Uid] = field(default_factory=set)  # still to be seen


class Expectations:
    """Outstanding creations and deletions by owner. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expected: dict[ObjectKey, _Expected] = {}

    def met(self, owner: ObjectKey) -> bool:
        """Whether all that was asked for has been seen, or the wait for it is over."""
        expected = self._expected.get(owner)
        if expected is None:
            return True
        done = expected.creations <= 0 and not expected.deletions
        return done or self._clock() - expected.since > PATIENCE_SECONDS

    def expect_creations(self, owner: ObjectKey, count: int) -> None:
        """`count` objects are about to be created."""
        self._entry(owner).creations += count

    def expect_deletions(self, owner: ObjectKey, uids: Iterable[Uid]) -> None:
        """These objects are about to be deleted."""
        self._entry(owner).deletions.update(uids)

    def creation_seen(self, owner: ObjectKey) -> None:
        """A creation arrived in the cache, or will never come because it failed."""
        expected = self._expected.get(owner)
        if expected is not None:
            expected.creations = max(expected.creations - 1, 0)

    def deletion_seen(self, owner: ObjectKey, uid: Uid) -> None:
        """A deletion arrived in the cache, or will never come because it failed."""
        expected = self._expected.get(owner)
        if expected is not None:
            expected.deletions.discard(uid)

    def forget(self, owner: ObjectKey) -> None:
        """The owner is gone."""
        self._expected.pop(owner, None)

    def _entry(self, owner: ObjectKey) -> _Expected:
        if self.met(owner):
            self._expected[owner] = _Expected(since=self._clock())
        return self._expected[owner]
