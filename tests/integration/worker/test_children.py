"""Children of a job with whole workers: through kills, and in the command line."""

from __future__ import annotations

import pytest

from agentpool_core.client import Client
from agentpool_core.jobs import JobState
from agentpool_core.queue import Inspector, PoolSettings
from tests.fixtures.workers import until


@pytest.fixture
async def client(redis, pool):
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=20, retry_max_ms=50, lease_ms=1_000))
    return Client(redis, pool=pool)


async def test_a_kill_among_children_loses_no_result_and_starts_none_twice(client, workers):
    """The worker is killed with children running; the parent holds no slot, so two slots are enough for all."""
    workers.start("--concurrency", "2")
    receipt = await client.submit("family", list(range(20)), tenant="acme", tags=["night"])

    async def ended():
        return (await client.job(receipt.job_id)).state.terminal

    await until(ended, "the parent has ended")
    job = await client.job(receipt.job_id)
    assert (job.state, job.result, job.attempt) == (JobState.SUCCEEDED, 2 * sum(range(20)), 1), job.error
    members = [job for job in await client.jobs(JobState.SUCCEEDED) if job.kind == "member"]
    assert sorted(job.payload for job in [await client.job(member.job_id) for member in members]) == list(range(20))
    assert {(job.started_by, job.tenant, job.tags) for job in members} == {(receipt.job_id, "acme", ("night",))}
    assert sum(count for (what, _), count in workers.runs().items() if what == "start") == 2
