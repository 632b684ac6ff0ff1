"""Redis returns to an earlier state under a live worker: a crash, a failover or a backup loses the latest writes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer, Route, connect
from tests.fixtures.workers import until

SETTINGS = PoolSettings(
    routes=(Route(name="code", kinds=("gated",), max_running=1),), lease_ms=1_500, retry_initial_ms=20, concurrency=4
)
pytestmark = pytest.mark.timeout(180)


class Ground:
    """A server that can return to an earlier state, a pool on that server, and a worker."""

    def __init__(self, server, pool, workers, directory) -> None:
        self.server = server
        self.pool = pool
        self.workers = workers
        self.directory = directory
        self.redis = connect(server.tcp_url)
        self.inspector = Inspector(self.redis)

    async def configure(self, settings: PoolSettings) -> None:
        await self.inspector.configure(self.pool, settings)

    async def start(self):
        worker = self.workers.start()
        await until(worker.ready, "the worker serves")
        return worker

    async def go_back(self, kept: dict[Path, bytes]) -> None:
        self.server.go_back(kept)
        await self.redis.connection_pool.disconnect()

    async def gated(self, gate: str):
        return (await Producer(self.redis, self.pool).submit(JobRequest(kind="gated", payload=self.gate(gate)))).job_id

    def gate(self, name: str) -> str:
        return str(self.directory / name)

    def open(self, name: str) -> None:
        (self.directory / name).touch()

    async def started(self, job_id, times: int = 1) -> None:
        await until(lambda: self.workers.runs()["start", job_id] >= times, f"{job_id} has started {times} times")

    async def ended(self, *jobs) -> None:
        async def all_ended() -> bool:
            try:
                return all([(await self.inspector.job(self.pool, job)).state is JobState.SUCCEEDED for job in jobs])
            except QueueError:  # the connection is broken, or the job is not in the queue yet
                return False

        await until(all_ended, "all jobs have succeeded")

    async def at_rest(self) -> None:
        """Assert that no job runs or waits, and that every counter agrees."""
        prefix = f"ap:{{{self.pool}}}:"

        async def rests() -> bool:
            counters = await self.redis.hgetall(f"{prefix}counters")
            counted = {name: value for name, value in counters.items() if name[:2] in {"q:", "y:", "r:", "t:"}}
            return {*counted.values(), counters["queued"], counters["running"]} == {"0"}

        await until(rests, "all counters are zero")


@pytest.fixture
async def ground(start_workers, redis_server_factory, pool_ref, tmp_path):
    """A pool on a server of its own."""
    server = redis_server_factory()
    ground = Ground(server, pool_ref, start_workers(server.tcp_url, pool_ref), tmp_path)
    async with contextlib.aclosing(ground.redis):
        await ground.configure(SETTINGS)
        yield ground


@pytest.mark.parametrize("slots", [1, 4])
async def test_an_ended_job_runs_again_and_its_route_continues(ground, slots):
    """The queue holds an ended job as running, and does not know the worker's running job: both are corrected.

    A worker with a free slot loses the answer to its claim and compares; a full worker has sent no claim.
    """
    await ground.configure(replace(SETTINGS, concurrency=slots))
    worker = await ground.start()
    first = await ground.gated("first")
    await ground.started(first)
    snapshot = ground.server.keep()
    ground.open("first")
    await ground.ended(first)
    unknown = await ground.gated("never")
    await ground.started(unknown)
    await ground.go_back(snapshot)
    await ground.ended(first)
    await until(lambda: worker.metric("agentpool_worker_slots_used") == 0, "the unknown job is stopped")
    third = await ground.gated("first")
    await ground.ended(third)
    await ground.at_rest()
    assert worker.metric("agentpool_worker_reconciliations_total") >= 1
    assert (await ground.inspector.job(ground.pool, first)).attempt == 1
    assert unknown in worker.log()


async def test_a_job_with_a_lost_claim_is_stopped_and_leased_again(ground):
    """The worker runs a job that the queue offers to all workers: that run stops, and the job runs under a lease."""
    await ground.start()
    await ground.configure(replace(SETTINGS, paused=True))
    job = await ground.gated("gate")
    snapshot = ground.server.keep()
    await ground.configure(SETTINGS)
    await ground.started(job)
    await ground.go_back(snapshot)
    await until(
        lambda: ground.workers.all[0].metric("agentpool_worker_slots_used") == 0, "the attempt without a lease stops"
    )
    await ground.configure(SETTINGS)
    await ground.started(job, 2)
    ground.open("gate")
    await ground.ended(job)
    await ground.at_rest()


async def test_a_worker_with_a_lost_registration_serves_on(ground):
    """The queue does not know the worker: the worker registers again, and its jobs run again."""
    job = await ground.gated("gate")
    snapshot = ground.server.keep()
    worker = await ground.start()
    await ground.started(job)
    await ground.go_back(snapshot)
    await until(lambda: worker.metric("agentpool_worker_leases_lost_total") == 1, "the worker has registered again")
    await ground.started(job, 2)
    ground.open("gate")
    await ground.ended(job)
    await ground.at_rest()


async def test_the_slot_of_a_job_with_an_evicted_record_is_released(ground):
    """The result has no record to go to; the next job of the route runs."""
    await ground.start()
    lost = await ground.gated("gate")
    await ground.started(lost)
    await ground.redis.delete(f"ap:{{{ground.pool}}}:job:{lost}")
    following = await ground.gated("gate")
    ground.open("gate")
    await ground.ended(following)
    await ground.at_rest()


async def test_a_worker_run_by_hand_publishes_a_lost_pool(ground):
    """No operator would publish the settings: the worker publishes its last settings, and says so once."""
    worker = await ground.start()
    await ground.redis.flushall()

    async def published() -> bool:
        try:
            return (await ground.inspector.settings(ground.pool)).routes == SETTINGS.routes
        except QueueError:
            return False

    await until(published, "the pool is known again")
    ground.open("gate")
    await ground.ended(await ground.gated("gate"))
    assert worker.log().count("the lease ran out") == 1
    assert "Redis has lost the pool, and no operator publishes settings" in worker.log()
