"""Waiting without a slot, with whole workers: through a worker's end, at zero workers, and over the command line."""

from __future__ import annotations

import asyncio
import signal

import pytest
from click.testing import CliRunner

from agentpool_core.cli.root import root
from agentpool_core.client import Client
from agentpool_core.jobs import JobState
from agentpool_core.queue import Inspector, PoolSettings
from tests.fixtures.workers import until


@pytest.fixture
async def client(redis, pool):
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=20, retry_max_ms=50, lease_ms=1_000))
    return Client(redis, pool=pool)


@pytest.fixture
def agentpool(redis_url, pool):
    """Run the command line on the test's pool."""

    async def agentpool(*args):
        flags = ("--redis", redis_url, "--pool", str(pool))
        done = await asyncio.to_thread(CliRunner().invoke, root, [*args, *flags], standalone_mode=False)
        return done.output

    return agentpool


def state_is(client, job_id, state):
    async def reached() -> bool:
        return (await client.job(job_id)).state is state

    return until(reached, f"job {job_id} is {state}")


async def test_a_job_waits_at_zero_workers_and_continues_on_the_next(client, workers, agentpool):
    """The worker ends at once, because a wait holds no slot.

    After a signal from the command line, a new worker finishes.
    """
    first = workers.start()
    receipt = await client.submit("approved", {"sleep": 0.1})
    await state_is(client, receipt.job_id, JobState.WAITING)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    assert "waiting: the job waits for signal 'approval': agentpool signal" in await agentpool("get", receipt.job_id)
    assert await agentpool("signal", receipt.job_id, "approval", '{"yes": 1}', "--id", "7") == (
        f"job {receipt.job_id} has the signal 'approval'\n"
    )
    assert "has this signal already" in await agentpool("signal", receipt.job_id, "approval", "2", "--id", "7")
    queue = await client.queue()
    assert (queue.waiting, queue.queued, queue.due) == (0, 1, 0)
    workers.start()
    assert await receipt.result(timeout=40) == [["draft", 1], {"yes": 1}, ["post", 1]]
    assert {what: count for (what, _), count in workers.runs().items()} == {"step draft": 1, "step post": 1}
    job = await client.job(receipt.job_id)
    assert [(step.name, step.outcome, step.attempt) for step in job.steps] == [
        ("draft", "succeeded", 1),
        ("~wait:approval", "succeeded", 1),
        ("~sleep", "succeeded", 1),
        ("post", "succeeded", 1),
    ]


async def test_a_sleep_outlives_its_worker(client, workers):
    """SIGKILL during the sleep has no effect: the maintenance of the next worker ends the sleep."""
    worker = workers.start()
    receipt = await client.submit("approved", {"sleep": 1.5})
    await receipt.signal("approval", 1)
    await state_is(client, receipt.job_id, JobState.WAITING)
    worker.end()
    workers.start()
    assert (await receipt.result(timeout=40))[1:] == [1, ["post", 1]]


async def test_a_timed_out_wait_fails_the_handler_without_a_catch(client, workers):
    """TimeoutError is the error of the attempt; the retry times out at once, because the timeout is stored."""
    workers.start()
    receipt = await client.submit("approved", {"timeout": 0.1}, max_attempts=2)
    await state_is(client, receipt.job_id, JobState.FAILED)
    job = await client.job(receipt.job_id)
    assert job.attempt == 2
    assert "TimeoutError: signal 'approval' did not come within the timeout" in job.error
    assert job.steps[1].outcome == "expired"


async def test_a_worker_follows_the_rules_of_its_pool(client, workers, redis, pool):
    """The pool's settings reach its workers: a wait of an hour keeps its handler, an endless wait is refused."""
    settings = PoolSettings(keep_wait_ms=3_600_000, refuse_endless_waits=True, lease_ms=1_000)
    await Inspector(redis).configure(pool, settings)
    workers.start()
    kept, endless = await client.submit("approved", {"timeout": 3_600}), await client.submit("approved", {})
    await state_is(client, endless.job_id, JobState.FAILED)
    assert (
        "WaitRefusedError: wait: it waits for signal 'approval' without a timeout"
        in (await client.job(endless.job_id)).error
    )
    await state_is(client, kept.job_id, JobState.RUNNING)
    await kept.signal("approval", 1)
    assert (await kept.result(timeout=40))[1] == 1
    assert "waiting" not in [change.type for change in (await client.job(kept.job_id)).history]
