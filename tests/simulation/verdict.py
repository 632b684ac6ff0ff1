"""The judgement of a schedule that has come to rest: by the public record, the specification and the audit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from agentpool_core.documents import event_document, job_document
from agentpool_core.queue import Inspector
from agentpool_core.queue.audit import audit
from tests.fixtures.redis import leaked_keys
from tests.judge.bounds import judge_bounds
from tests.judge.histories import judge_histories
from tests.judge.record import read
from tests.specification.trace import Submitted, refusals

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent, PoolRef
    from tests.simulation.load import Load
    from tests.simulation.program import Facts

LIMITS = (
    {"name": "narrow", "routes": ["narrow"], "maxRunning": 1},
    {"name": "one-a-key", "by": "key", "maxRunning": 1},
)


async def findings(redis, pool: PoolRef, load: Load, facts: Facts) -> AsyncIterator[str]:
    """Yield the broken promises."""
    inspector = Inspector(redis)
    events = await inspector.events(pool, limit=100_000)
    jobs = [await inspector.job(pool, job_id) for job_id in dict.fromkeys(event.job_id for event in events)]
    record = read(_lines(pool, events, jobs, load))
    for finding in (*judge_histories(record), *judge_bounds(record)):
        yield f"judge: {finding}"
    for refusal in refusals(events, _submitted(load, jobs)):
        yield f"specification: {refusal}"
    for finding in _answers(jobs, load):
        yield f"client: {finding}"
    for finding in (*facts.broken, *_runs(events, jobs, load, facts)):
        yield f"handlers: {finding}"
    for contradiction in await audit(redis, pool):
        yield f"audit: {contradiction.kind.value} {contradiction.what}"
    for key in sorted(await leaked_keys(redis, pool)):
        yield f"audit: key {key} has no owner and no lifetime"


def _lines(pool: PoolRef, events: list[JobEvent], jobs: list[Job], load: Load) -> Iterator[str]:
    for event in events:
        yield json.dumps({"event": event_document(event)})
    for job in jobs:
        yield json.dumps({"job": job_document(job, pool)})
    for job_id, state in load.acknowledged.items():
        yield json.dumps({"acknowledged": {"job_id": job_id, "call": "submit", **({"state": state} if state else {})}})
    for job_id in sorted(load.cancelled):
        yield json.dumps({"acknowledged": {"job_id": job_id, "call": "cancel"}})
    for limit in LIMITS:
        yield json.dumps({"limit": limit})


def _submitted(load: Load, jobs: list[Job]) -> dict[str, Submitted]:
    plans = {plan.job_id: plan for plan in load.jobs}
    return {
        job.job_id: Submitted(
            most=job.max_attempts,
            after=tuple(plans[job.job_id].options.get("after", ())) if job.job_id in plans else (),
            delayed=job.job_id in plans and bool(plans[job.job_id].options.get("delay")),
        )
        for job in jobs
    }


def _answers(jobs: list[Job], load: Load) -> Iterator[str]:
    """The client was told of each end, and of the one that is in the record."""
    states = {str(job.job_id): job.state.value for job in jobs}
    for job_id in load.acknowledged:
        told = load.results.get(job_id)
        if told is None:
            yield f"{job_id} is {states.get(job_id, 'gone')}, and the client that waits for it was not told"
        elif told.split(" ")[0] != states.get(job_id):
            yield f"{job_id} is {states.get(job_id, 'gone')}, and the client was told {told}"


def _runs(events: list[JobEvent], jobs: list[Job], load: Load, facts: Facts) -> Iterator[str]:
    """Each run of a handler has a claim, a checkpoint is not lost, and results reach the children."""
    by_id = {str(job.job_id): job for job in jobs}
    claims = Counter(str(event.job_id) for event in events if event.type == "started")
    for job_id, starts in facts.starts.items():
        if len(starts) > claims[job_id] and not facts.forgotten:
            yield f"{job_id} ran {len(starts)} times with {claims[job_id]} claims"
    for plan in load.jobs:
        after = plan.options.get("after", ())
        wanted = {parent: by_id[parent].result for parent in after if parent in by_id}
        if plan.job_id in facts.parents and facts.parents[plan.job_id] != wanted:
            yield f"{plan.job_id} got the results {facts.parents[plan.job_id]} of its parents, not {wanted}"
