"""A worker that cannot work, beside a healthy worker.

The sick worker fails no job, stops claiming, reports why, and ends.
"""

from __future__ import annotations

import re
import resource
import shutil
import sys

import pytest

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_worker.supervision.exits import SICK
from tests.fixtures.redis import wait_until
from tests.fixtures.workers import until

SETTINGS = PoolSettings(concurrency=10, retry_initial_ms=20, retry_max_ms=200, lease_ms=5_000)
JOBS = 200


@pytest.fixture
async def inspector(redis, pool):
    """An inspector of a configured pool."""
    inspector = Inspector(redis)
    await inspector.configure(pool, SETTINGS)
    return inspector


def last_line(worker) -> str:
    """Return the last line of an ended worker in the pool's status."""
    return worker.log().splitlines()[-1]


async def all_succeed(inspector, pool, receipts):
    """Wait for the jobs' ends; each has exactly one counted attempt."""

    async def over():
        snapshot = await inspector.snapshot(pool)
        return snapshot.queued + snapshot.running + snapshot.scheduled == 0

    await wait_until(over, "every job has ended", within_s=120.0)
    jobs = [await inspector.job(pool, receipt.job_id) for receipt in receipts]
    assert {(job.state, job.attempt) for job in jobs} == {(JobState.SUCCEEDED, 1)}


@pytest.mark.timeout(300)
async def test_a_worker_without_a_temporary_directory_makes_no_dead_letters(workers, redis, pool, inspector, tmp_path):
    """Command jobs are requeued uncounted, the worker ends as sick after a few, and the healthy worker runs all."""
    script = tmp_path / "agent.py"
    script.write_text("import json, sys; json.dump(json.load(sys.stdin), sys.stdout)\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ("--handler-command", f"{sys.executable} {script}")
    healthy = workers.start(*command, app=None)
    await until(healthy.ready, "the healthy worker serves")
    sick = workers.start(*command, app=None, TMPDIR=str(gone))
    await until(sick.ready, "the other worker serves, and has found its directory")
    shutil.rmtree(gone)
    receipts = await Producer(redis, pool).submit_many([JobRequest(kind="any", payload=n) for n in range(JOBS)])
    assert sick.wait(60.0) == SICK
    assert re.match(r"error: worker \S+ ended because it cannot make a directory for a job", last_line(sick))
    await all_succeed(inspector, pool, receipts)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux changes the limits of another process")
async def test_a_worker_that_can_start_no_process_makes_no_dead_letters(workers, redis, pool, inspector, tmp_path):
    """The limit of descriptors leaves none for the pipes of a command.

    The result beside a healthy worker is the same.
    """
    script = tmp_path / "agent.py"
    script.write_text("import json, sys; json.dump(json.load(sys.stdin), sys.stdout)\n")
    command = ("--handler-command", f"{sys.executable} {script}")
    healthy = workers.start(*command, app=None)
    sick = workers.start(*command, app=None)
    await until(lambda: healthy.ready() and sick.ready(), "both workers serve")
    process = sick.worker_process()
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (process.num_fds() + 2, process.num_fds() + 2))
    receipts = await Producer(redis, pool).submit_many([JobRequest(kind="any", payload=n) for n in range(JOBS)])
    assert sick.wait(60.0) == SICK
    await all_succeed(inspector, pool, receipts)


@pytest.mark.timeout(300)
async def test_a_worker_without_descriptors_makes_no_dead_letters(workers, redis, pool, inspector, tmp_path):
    """A job holds all descriptors.

    The remaining jobs are requeued, the queue gets the reason, and the worker ends after that job.
    """
    gate = tmp_path / "gate"
    producer = Producer(redis, pool)
    sick = workers.start()
    await until(sick.ready, "the worker serves")
    hog = await producer.submit(JobRequest(kind="use-up-descriptors", payload=str(gate)))
    await until(lambda: workers.runs()["holds all", hog.job_id], "no descriptor is left")
    receipts = await producer.submit_many([JobRequest(kind="open-a-file", payload=0.01) for _ in range(JOBS)])

    async def reported():
        return [worker.note for worker in await inspector.workers(pool) if "descriptors" in worker.note]

    await until(reported, "the queue knows why the worker takes no jobs")
    workers.start()
    await until(lambda: len(workers.all) == 2, "a healthy worker has come")
    gate.touch()
    assert sick.wait(60.0) == SICK
    await all_succeed(inspector, pool, [hog, *receipts])
