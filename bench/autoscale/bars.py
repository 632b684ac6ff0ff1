"""The bars for every load and start-up time: nothing beats AgentPool on both waits and hours, and few by their product.

The cost of a run is `(p99 wait + target) x worker-hours`: a wait as long as the target doubles the cost. The peers of a
case are the autoscalers of `peers`, with defaults and tuned. A fixed count, which knows the load beforehand, is shown
as the frontier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.autoscale.measures import TARGET_WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.autoscale.measures import Measures

NEAR = 1.1  # times the lowest cost: within 10 %
NEAR_SHARE = "cases at most a tenth above the lowest cost / cases"
NOT_BEATEN_SHARE = "cases without a peer that is better in both / cases"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A load at a start-up time: medians of the rounds."""

    load: str
    startup_s: float
    ours: Measures
    peers: Mapping[str, Measures]
    frontier: Sequence[Measures]  # fixed counts, from one worker

    @property
    def best(self) -> str:
        """Return the peer of the lowest cost."""
        return min(self.peers, key=lambda name: cost(self.peers[name]))

    @property
    def ratio(self) -> float:
        """Cost of the best peer over that of AgentPool."""
        return cost(self.peers[self.best]) / cost(self.ours)

    @property
    def is_near(self) -> bool:
        """Whether AgentPool has the lowest cost, or at most a tenth more."""
        return self.ratio * NEAR >= 1.0

    @property
    def beaten_by(self) -> list[str]:
        """Return the peers with both shorter waits and fewer hours."""
        ours = self.ours
        return [
            name
            for name, peer in self.peers.items()
            if peer.p99_s < ours.p99_s and peer.worker_hours < ours.worker_hours
        ]

    @property
    def fixed_p99_s(self) -> float | None:
        """Return the p99 of the best fixed count of no more hours; None = every count costs more."""
        affordable = [count.p99_s for count in self.frontier if count.worker_hours <= self.ours.worker_hours]
        return min(affordable, default=None)


def cost(measures: Measures) -> float:
    """Return the cost of a run in seconds times hours."""
    return (measures.p99_s + TARGET_WAIT_SECONDS) * measures.worker_hours


def shares(cases: Sequence[Case]) -> dict[str, float]:
    """Return the shares of the cases that hold."""
    return {
        NEAR_SHARE: sum(case.is_near for case in cases) / len(cases),
        NOT_BEATEN_SHARE: sum(not case.beaten_by for case in cases) / len(cases),
    }


def table(cases: Sequence[Case]) -> str:
    """Return the cases, AgentPool beside the peer of the lowest cost and the fixed counts."""
    columns = (
        "| load | start-up, s | AgentPool: p99 wait, s | worker-hours | cheapest peer | p99 wait, s | worker-hours | "
        "cost, peer / AgentPool | better in both | p99 of the best fixed count of no more hours, s |"
    )
    lines = [columns, "|---" * 10 + "|"]
    for case in cases:
        peer = case.peers[case.best]
        fixed = "none" if case.fixed_p99_s is None else f"{case.fixed_p99_s:.3g}"
        beaten_by = ", ".join(case.beaten_by) or "none"
        lines.append(
            f"| {case.load} | {case.startup_s:g} | {case.ours.p99_s:.3g} | {case.ours.worker_hours:.3g} | "
            f"{case.best} | {peer.p99_s:.3g} | {peer.worker_hours:.3g} | {case.ratio:.2f} | {beaten_by} | {fixed} |"
        )
    return "\n".join(lines)
