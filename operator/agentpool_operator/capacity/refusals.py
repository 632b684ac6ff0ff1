"""The scheduler's refusals: workers of a pool that stay Pending because no node takes them.

The placement model knows the filters of a single pod. Others depend on further pods or plugins: topology spread,
anti-affinity between pools, volumes, limits of a custom scheduler. So a worker that the scheduler has refused for a
while shows the true number: the pool gets no more workers than the scheduler has placed, and other pools get the rest.
A changed node or template ends the limit; otherwise it is tested after a pause that grows. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.views import PodView
    from agentpool_operator.scaling.nodes import Shape

REFUSED_AFTER_SECONDS = 10.0  # age of a Pending pod with a refusal that counts: the node may become free meanwhile
PAUSE_SECONDS = 30.0  # before a limit is tested the first time
LONGEST_PAUSE_SECONDS = 600.0  # between later tests


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A limit that the scheduler has shown."""

    most: int  # workers that the scheduler has placed
    reason: str  # the scheduler's message
    shape: Shape  # of the refused workers
    nodes_version: int  # of the inventory at that time
    pause_s: float  # seconds before the limit is tested
    until: float  # seconds, monotonic


class Refusals:
    """The last refusal of each pool."""

    def __init__(self) -> None:
        self._refusals: dict[PoolRef, Refusal] = {}

    def note(
        self, pool: Pool, shape: Shape, *, placed: int, refused: list[PodView], nodes_version: int, now: float
    ) -> Refusal | None:
        """Return the limit of a pool with `placed` workers on nodes; None = no limit. `now` is seconds, monotonic.

        After its pause a limit allows a further worker, which tests it.
        """
        known = self._refusals.get(pool.ref)
        if known is not None and (known.shape != shape or known.nodes_version != nodes_version or placed > known.most):
            del self._refusals[pool.ref]
            known = None
        if refused:
            pause_s = PAUSE_SECONDS if known is None else known.pause_s
            if known is not None and now >= known.until:
                pause_s = min(2 * known.pause_s, LONGEST_PAUSE_SECONDS)
            known = self._refusals[pool.ref] = Refusal(
                most=placed if known is None else max(placed, known.most),
                reason=refused[0].trouble_message,
                shape=shape,
                nodes_version=nodes_version,
                pause_s=pause_s,
                until=now + pause_s,
            )
        if known is None or now < known.until:
            return known
        return replace(known, most=known.most + 1)

    def reason_of(self, pool: PoolRef) -> str:
        """Return the scheduler's last reason; empty = no refusal."""
        return self._refusals[pool].reason if pool in self._refusals else ""

    def forget_all_but(self, pools: set[PoolRef]) -> None:
        """Forget the pools that request no devices any more."""
        self._refusals = {ref: refusal for ref, refusal in self._refusals.items() if ref in pools}


def refused_pods(pool: Pool, *, at: float) -> list[PodView]:
    """Return the Pending workers that the scheduler has refused for a while; `at` is seconds since the epoch."""
    found = [pod for pod in pool.live_pods if not pod.node and pod.trouble == "FailedScheduling"]
    return [pod for pod in found if at - pod.created_at >= REFUSED_AFTER_SECONDS]
