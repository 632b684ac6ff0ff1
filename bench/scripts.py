"""The longest time for which one script holds the server, in each case that involves many or large jobs.

A running script blocks Redis: every pool on the server waits. The server's own slow log gives the times; a
case is the longest script of its operation. Every ratio compares the bar with a case, so more is better.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import GroupMember, JobId, JobRequest, JobState, StartedBy, WorkerId
from agentpool_core.queue import Consumer, PoolSettings
from agentpool_core.queue.completions import Succeeded
from bench.report import Figure, Report, quick
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from agentpool_core.jobs import Lease
    from bench.stage import Stage

NAME = "scripts"
ROUNDS = 5
BAR_MS = 25.0
SHARE_QUICK = 0.05  # of the jobs, in a quick run
CHILDREN, CHAIN, LARGE_JOBS, DUE, LOST, MAPPED = 99_000, 20_000, 200, 5_000, 1_000, 500
LARGE = "x" * 1_000_000
SLOW_MICROSECONDS = 200  # scripts below are not listed
LISTED = 100_000
AT_ONCE = 1_000  # submits in a call


class Place:
    """A pool on a fresh server, and the longest script of an operation."""

    def __init__(self, given: Stage) -> None:
        self.redis: Any = given.redis
        self.inspector, self.producer = given.inspector, given.producer
        self.consumer = Consumer(given.redis, POOL, WorkerId("bench"))

    async def longest_ms(self, operation: Awaitable[object]) -> float:
        """Await the operation; return the time of its longest script, in ms."""
        await self.redis.slowlog_reset()
        await operation
        times = [entry["duration"] for entry in await self.redis.slowlog_get(LISTED)]
        return max(times, default=SLOW_MICROSECONDS) / 1000

    async def submit(self, requests: Sequence[JobRequest]) -> list[JobId]:
        """Submit in calls of a usual size."""
        ids: list[JobId] = []
        for start in range(0, len(requests), AT_ONCE):
            ids += [r.job_id for r in await self.producer.submit_many(requests[start : start + AT_ONCE])]
        return ids

    async def claim(self, limit: int) -> list[Lease]:
        """Claim until `limit` jobs are held; a claim may return fewer."""
        leases: list[Lease] = []
        while len(leases) < limit and (more := await self.consumer.claim(limit - len(leases))):
            leases += more
        return leases

    async def maintain(self) -> None:
        """Run maintenance until nothing is due at once."""
        while (await self.consumer.maintain()).next_due_ms == 0:
            pass


async def run() -> Report:
    """Run all cases, each round on a fresh server."""
    share = SHARE_QUICK if quick() else 1.0
    runs: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 if quick() else ROUNDS):
        for cases in (_family, _chain, _large, _due, _lost, _mapped):
            async with stage(PoolSettings(max_depth=1_000_000)) as given:
                place = Place(given)
                await place.redis.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
                await place.redis.config_set("slowlog-max-len", LISTED)
                await place.inspector.configure(POOL, PoolSettings(max_depth=1_000_000))
                await place.consumer.register(slots=1_000, host="bench")
                async for case, longest in cases(place, share):
                    runs[case].append(longest)
    figures = {case: Figure(unit="ms", runs=tuple(times)) for case, times in runs.items()}
    ratios = {f"{BAR_MS:g} ms / {case}": BAR_MS / figure.median for case, figure in figures.items()}
    return Report(
        name=NAME,
        figures=figures,
        ratios=ratios,
        required=dict.fromkeys(ratios, 1.0),
        notes=["the longest script of each operation, by the server's slow log"],
    )


async def _family(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    count = int(CHILDREN * share)
    (parent,) = await place.submit([JobRequest(kind="parent")])
    await place.submit([JobRequest(kind="child", after=(parent,)) for _ in range(count)])
    (lease,) = await place.claim(1)
    done = Succeeded(job_id=lease.job_id, token=lease.token, result=None)
    yield f"settle a parent of {CHILDREN:,} children", await place.longest_ms(place.consumer.settle([done]))
    yield "release the rest of the children", await place.longest_ms(place.maintain())


async def _chain(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    before: tuple[JobId, ...] = ()
    chain = []
    for number in range(int(CHAIN * share)):
        request = JobRequest(kind="link", job_id=JobId(f"link-{number}"), after=before)
        before = (JobId(f"link-{number}"),)
        chain.append(request)
    head, *_ = await place.submit(chain)
    yield f"cancel the head of a chain of {CHAIN:,}", await place.longest_ms(place.producer.cancel(head))
    yield "cancel the rest of the chain", await place.longest_ms(place.maintain())


async def _large(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    del share
    submitting = place.submit([JobRequest(kind="large", payload=LARGE) for _ in range(LARGE_JOBS)])
    yield f"submit {LARGE_JOBS} jobs of 1 MB", await place.longest_ms(submitting)
    listing = place.inspector.jobs(POOL, JobState.QUEUED, limit=LARGE_JOBS)
    yield f"list {LARGE_JOBS} jobs of 1 MB", await place.longest_ms(listing)
    leases: list[Lease] = []

    async def claim() -> None:
        leases.extend(await place.claim(LARGE_JOBS))

    yield f"claim {LARGE_JOBS} jobs of 1 MB", await place.longest_ms(claim())
    done = [Succeeded(job_id=lease.job_id, token=lease.token, result=LARGE) for lease in leases]
    yield f"settle {LARGE_JOBS} jobs of 1 MB", await place.longest_ms(place.consumer.settle(done))


async def _due(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    count = int(DUE * share)
    await place.submit([JobRequest(kind="due", delay_ms=1) for _ in range(count)])
    await place.submit([JobRequest(kind="expires", ttl_ms=1) for _ in range(count)])
    await _elapse(0.01)
    yield f"promote {DUE:,} due jobs, expire {DUE:,}", await place.longest_ms(place.maintain())
    yield "claim 1,000 jobs", await place.longest_ms(place.claim(1_000))


async def _lost(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    count = int(LOST * share)
    await place.submit([JobRequest(kind="running") for _ in range(count)])
    await place.claim(count)
    yield f"recover {LOST:,} jobs of a lost worker", await place.longest_ms(place.consumer.report_crash("signal 9"))


async def _mapped(place: Place, share: float) -> AsyncIterator[tuple[str, float]]:
    del share
    (lease,) = await _running(place, [JobRequest(kind="parent")])
    member = GroupMember(group="ab12", number=0, size=MAPPED, fail_fast=False)
    child = StartedBy(job_id=lease.job_id, inherit_tenant=True, inherit_tags=True, member=member)
    children = [replace(child, member=replace(member, number=number)) for number in range(MAPPED)]
    leases = await _running(place, [JobRequest(kind="child", started_by=started_by) for started_by in children])
    done = [Succeeded(job_id=lease.job_id, token=lease.token, result="x") for lease in leases]
    yield f"settle {MAPPED} children of a group", await place.longest_ms(place.consumer.settle(done))


async def _running(place: Place, requests: Sequence[JobRequest]) -> list[Lease]:
    await place.submit(requests)
    return await place.claim(len(requests))


async def _elapse(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
