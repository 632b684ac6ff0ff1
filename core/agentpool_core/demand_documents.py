"""The demand of a queue as a document: jobs that run or may start now, and the workers for them.

The counts are those of the operator's decision (`queue.load`). The gateway serves the document to other autoscalers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_core.queue.load import bounds_of, loads_of, lost_jobs, startable, workers_for

if TYPE_CHECKING:
    from agentpool_core.documents import Document
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.settings import PoolSettings
    from agentpool_core.queue.snapshots import QueueSnapshot

SOON_SECONDS = 5.0  # starts that a rate allows within this time count as startable; the default target of a wait


def demand_document(snapshot: QueueSnapshot, settings: PoolSettings, pool: PoolRef) -> Document:
    """Return the demand of a queue: a slot for each job that runs or that all limits allow to start now."""
    routes, lost = loads_of(snapshot), lost_jobs(snapshot)
    by_route, _ = startable(routes, bounds_of(snapshot), within_s=SOON_SECONDS)
    waiting = 0 if snapshot.paused else sum(by_route.values()) + lost
    running = snapshot.running - lost
    jobs = {route.name: route.running + (0 if snapshot.paused else by_route[route.name]) for route in routes}
    workers = workers_for(jobs, routes, concurrency=settings.concurrency, gpu_memory_mib=settings.gpu_memory_mib)
    return {
        "pool": str(pool),
        "running": running,
        "startable": waiting,
        "held_back": sum(route.ready for route in routes) + lost - waiting + snapshot.held,
        "jobs": running + waiting,
        "workers": math.ceil(workers),
    }
