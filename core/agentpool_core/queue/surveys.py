"""Ready jobs that the limits of keys, tenants and kinds let start, from a sample of the queue.

Before a claim has reached a job, the counters of a queue do not show that its key is full. The operator's demand would
count the job, and add a worker for work that no limit lets start. `scripts/survey.lua` counts the jobs of a bounded
sample by their limits, and `startable` shares the room of the limits among them. `inspector` adds the numbers to a
snapshot; `load` uses them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentpool_core.queue import scripts
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

SAMPLE = 1_000  # jobs: some 5 ms of the server
SOON_MS = 5_000  # starts that a rate allows within this time count; the default target of a wait


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Ready jobs of a route that take the same from the same limits when they start."""

    route: str
    needs: Mapping[str, int]  # by bucket of a limit: 1, or tokens
    jobs: int  # that the sample stands for


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Starts or tokens that a bucket of a limit has left."""

    left: int  # starts or tokens
    interval_ms: float = math.inf  # between two more of them; inf: when a job ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """A sample of the ready jobs."""

    shares: tuple[Share, ...]
    rooms: Mapping[str, Room]  # by bucket


def is_useful(snapshot: QueueSnapshot) -> bool:
    """Return whether limits may hold ready jobs back that need more than the free slots."""
    free = sum(max(0, worker.slots - worker.running) for worker in snapshot.live_workers)
    return snapshot.queued > free and any(limit.routes is None for limit in snapshot.limits)


async def surveyed(redis: RedisClient, pool: PoolRef, snapshot: QueueSnapshot) -> QueueSnapshot:
    """Return the snapshot with the number of startable jobs of each route, if limits may hold some back."""
    if not is_useful(snapshot):
        return snapshot
    reply = await scripts.SURVEY.run(redis, Keys(pool).conf, (SAMPLE,))
    with Reading("survey"):
        found = startable(survey_of(reply), {route.name: route.backlog for route in snapshot.routes})
    routes = [replace(route, startable=found.get(route.name)) for route in snapshot.routes]
    return replace(snapshot, routes=tuple(routes))


def survey_of(reply: Sequence[Any]) -> Survey:
    """Return the survey in the script's reply. Raises ValueError or TypeError for any other."""
    jobs, rooms = reply
    return Survey(
        shares=tuple(
            Share(route=route, needs=_needs_of(needs), jobs=int(number))
            for route, needs, number in zip(jobs[::3], jobs[1::3], jobs[2::3], strict=True)
        ),
        rooms={
            bucket: Room(left=int(left), interval_ms=float(interval or math.inf))
            for bucket, left, interval in zip(rooms[::3], rooms[1::3], rooms[2::3], strict=True)
        },
    )


def _needs_of(text: str) -> dict[str, int]:
    pairs = (pair.rpartition("=") for pair in text.split())
    return {bucket: int(need) for bucket, _, need in pairs}


def startable(survey: Survey, backlog: Mapping[str, int]) -> dict[str, int]:
    """Return the startable jobs of each route in the sample, as if the whole backlog were like the sample."""
    sampled = Counter[str]()
    for share in survey.shares:
        sampled[share.route] += share.jobs
    left = {
        bucket: room.left + (math.floor(SOON_MS / room.interval_ms) if room.interval_ms > 0 else 0)
        for bucket, room in survey.rooms.items()
    }
    found = dict.fromkeys(sampled, 0)
    for share in survey.shares:
        of_route = backlog.get(share.route, 0)
        jobs = math.ceil(share.jobs * of_route / sampled[share.route])
        for bucket, need in share.needs.items():
            jobs = min(jobs, max(0, left.get(bucket, 0)) // max(1, need))
        for bucket, need in share.needs.items():
            left[bucket] = left.get(bucket, 0) - jobs * need
        found[share.route] = min(of_route, found[share.route] + jobs)
    return found
