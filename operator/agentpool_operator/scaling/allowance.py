"""Sizes that the API server allows: a policy or webhook may refuse the size of a decision, and allow a smaller one.

`agentpool_operator.scale_loop.replicas` searches for the largest allowed size. The refused size is not written again
before a pause, which doubles while the refusal lasts. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_operator.scaling.decision import Decision

PAUSE_SECONDS = 10.0  # before a refused size is tried again
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """The size beyond which the API server refuses."""

    size: int  # workers: the allowed size that is nearest to the refused size
    raising: bool  # whether a larger size is refused; else a smaller one
    pause_s: float  # seconds
    until: float  # seconds, monotonic: time of the next attempt

    def limit(self, decision: Decision, *, current: int, now: float) -> Decision:
        """Return the decision without its refused part until the next attempt."""
        refused = decision.replicas > self.size if self.raising else decision.replicas < self.size
        if now >= self.until or decision.replicas == current or not refused:
            return decision
        return replace(decision, replicas=current, keep=current if self.raising else decision.keep)


def next_allowance(before: Allowance | None, *, size: int, raising: bool, now: float) -> Allowance:
    """Return the allowance after a refusal; the pause doubles while the same size is reached."""
    same = before is not None and (before.size, before.raising) == (size, raising)
    pause_s = min(2 * before.pause_s, LONGEST_PAUSE_SECONDS) if before is not None and same else PAUSE_SECONDS
    return Allowance(size=size, raising=raising, pause_s=pause_s, until=now + pause_s)
