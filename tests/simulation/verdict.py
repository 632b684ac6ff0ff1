"""The judgement of a schedule that has come to rest: by the public record, the specification and the audit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from agentpool_core.documents import event_document, job_document
from agentpool_core.queue import Inspector
from agentpool_core.queue.audit import audit
from agentpool_core.queue.connection.client import call
from agentpool_core.queue.keys import Keys
from tests.fixtures.redis import leaked_keys
from tests.judge.bounds import judge_bounds
from tests.judge.histories import judge_histories
from tests.judge.record import read
from tests.simulation.families import broken_groups, late_children
from tests.simulation.promises import broken_for_handlers, broken_in_history, broken_times
from tests.specification.trace import Submitted, refusals

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent, PoolRef
    from tests.simulation.faults import Faults
    from tests.simulation.load import Load
    from tests.simulation.program import Facts

LIMITS = (
    {"name": "narrow", "routes": ["narrow"], "maxRunning": 1},
    {"name": "one-a-key", "by": "key", "maxRunning": 1},
    {"name": "two-a-tenant", "by": "tenant", "maxRunning": 2},
)
RATE = {"name": "slowly", "kinds": ["flaky"], "rate": {"count": 4, "periodSeconds": 1}}  # while no one sets the clock


async def findings(
    redis, pool: PoolRef, load: Load, facts: Facts, faults: Faults, *, prompt: bool
) -> AsyncIterator[str]:
    """Yield the broken promises; `prompt`: nothing hindered a job, so delays are broken promises too."""
    inspector = Inspector(redis)
    events = await inspector.events(pool, limit=100_000)
    jobs = [await inspector.job(pool, job_id) for job_id in dict.fromkeys(event.job_id for event in events)]
    limits = LIMITS if faults.clock_set else (*LIMITS, RATE)
    record = read(_lines(pool, events, jobs, load, limits))
    for finding in (*judge_histories(record), *judge_bounds(record)):
        yield f"judge: {finding}"
    for refusal in refusals(events, _submitted(load, jobs)):
        yield f"specification: {refusal}"
    for finding in (*load.broken, *_answers(jobs, load)):
        yield f"client: {finding}"
    by_id = {str(job.job_id): job for job in jobs}
    output = {name: [chunk.value async for chunk in inspector.chunks(pool, name)] for name in facts.emitted}
    for finding in broken_for_handlers(events, by_id, load, facts, output):
        yield f"handlers: {finding}"
    late = (*broken_times(events, load), *late_children(events, by_id, load)) if prompt else ()
    for finding in (*broken_in_history(events, by_id, load), *broken_groups(events, by_id, load), *late):
        yield f"history: {finding}"
    async for finding in _rest(redis, pool, by_id):
        yield f"rest: {finding}"
    for contradiction in await audit(redis, pool):
        yield f"audit: {contradiction.kind.value} {contradiction.what}"
    for key in sorted(await leaked_keys(redis, pool)):
        yield f"audit: key {key} has no owner and no lifetime"


def _lines(
    pool: PoolRef, events: list[JobEvent], jobs: list[Job], load: Load, limits: Iterable[object]
) -> Iterator[str]:
    for event in events:
        yield json.dumps({"event": event_document(event)})
    for job in jobs:
        yield json.dumps({"job": job_document(job, pool)})
    for job_id, state in load.acknowledged.items():
        yield json.dumps({"acknowledged": {"job_id": job_id, "call": "submit", **({"state": state} if state else {})}})
    for job_id in sorted(load.cancelled):
        yield json.dumps({"acknowledged": {"job_id": job_id, "call": "cancel"}})
    for limit in limits:
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


async def _rest(redis, pool: PoolRef, jobs: dict[str, Job]) -> AsyncIterator[str]:
    """Nothing is left in a stream, and each job is in the list of its state."""
    for key in sorted(await call(redis, "KEYS", f"{Keys(pool).prefix}s:*")):
        if (left := await call(redis, "XLEN", key)) != 0:
            yield f"{left} entries in {key}"
    for state in sorted({job.state for job in jobs.values()}):
        listed = {str(job.job_id) for job in await Inspector(redis).jobs(pool, state, limit=1_000)}
        ended = {name for name, job in jobs.items() if job.state is state}
        if listed != ended:
            yield f"the list of {state.value} jobs lacks {sorted(ended - listed)}, and has {sorted(listed - ended)}"
