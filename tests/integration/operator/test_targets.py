"""Targets of priorities, from the spec to the reason of the size."""

from __future__ import annotations

from agentpool_core.jobs import JobRequest, Priority
from agentpool_core.queue import Producer

SCALING = {
    "pollSeconds": 1,
    "targets": [
        {"priority": "critical", "percentile": 99, "waitSeconds": 2},
        {"priority": "info", "waitSeconds": 600},
    ],
}


async def test_the_priority_that_needs_the_most_slots_is_named(start_operator, pool_of, look, until, redis, ref):
    """The size follows the waiting jobs, and the reason names the target of the priority that decides."""
    await pool_of(scaling=SCALING)
    start_operator()
    await until(lambda: look.condition("QueueReachable"), ("True", "Answering"))
    await Producer(redis, ref).submit(JobRequest(kind="work", priority=Priority.INFO))
    await until(look.replicas, 1)

    async def reason():
        return ((await look.status()).get("lastDecision") or {}).get("reason")

    await until(reason, "1 job waits, which takes 1 worker of 5 slots for the target of info (100 % within 600 s)")
    await Producer(redis, ref).submit(JobRequest(kind="work", priority=Priority.CRITICAL))
    await until(reason, "2 jobs wait, which takes 1 worker of 5 slots for the target of critical (99 % within 2 s)")
