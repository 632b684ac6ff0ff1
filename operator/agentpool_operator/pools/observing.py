"""Build the decision's `Observation` of a pool from the registry. Pure.

`loop` and `placement` call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_operator.scaling.observation import Observation, PodState

if TYPE_CHECKING:
    from agentpool_operator.pools.pool import Pool


def observation_of(pool: Pool, *, now: float, at: float) -> Observation:
    """Return the observation of the pool; `now` is seconds of the monotonic clock, `at` the same since the epoch."""
    live, unread_since = pool.live_pods, pool.queue.unread_since
    return Observation(
        replicas=pool.deployment.replicas if pool.deployment is not None else 0,
        backlog=pool.backlog,
        unread_s=0.0 if unread_since is None else max(0.0, now - unread_since),
        pods=tuple(PodState(name=p.name, ready=p.ready, age_s=max(0.0, at - p.created_at)) for p in live),
        placeable=pool.placeable,
        kept=pool.room.kept if pool.gpu is not None else 0,
        max_pending=pool.gpu.max_pending if pool.gpu is not None else 0,
        draining=_draining_jobs(pool),
        startup_samples_s=tuple(p.startup_s for p in pool.starting_pods() if p.startup_s is not None),
    )


def _draining_jobs(pool: Pool) -> int:
    """Return the running jobs on pods that end: they finish there, or are requeued and then wait."""
    ending = {pod.name for pod in pool.pods.values() if pod.terminating}
    return sum(worker.running for worker in pool.backlog.workers if worker.name in ending) if pool.backlog else 0
