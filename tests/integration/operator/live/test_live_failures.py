"""Operators die or have a wrong clock while real workers run jobs: each job runs once, from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.errors import NotThereError
from agentpool_core.queue import Inspector, Producer
from tests.chaos.clocks import Clock, ClockMissingError
from tests.fixtures.redis import wait_until

WITHIN_SECONDS = 60.0
SERVING = ("True", "Serving")
UNDISTURBED = {"queued", "started", "succeeded"}  # a job's events without a requeue or a recovery
SCALING = {
    "pollSeconds": 1,
    "idleSeconds": 0,
    "maxReplicas": 4,
    "targetWaitSeconds": 1,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}


class Work:
    """A pool with jobs that last until a file of their name exists."""

    def __init__(self, redis, pool, directory):
        self._inspector, self._producer = Inspector(redis), Producer(redis, pool)
        self._pool, self._directory = pool, directory

    def spec(self):
        waits = 'read name; while [ ! -e "$0/$(echo $name | tr -dc a-z)" ]; do sleep 0.1; done; echo 1'
        return {
            "handler": {"command": {"argv": ["sh", "-c", waits, str(self._directory)]}},
            "worker": {"concurrency": 1, "drainSeconds": 5},
            "scaling": SCALING,
        }

    async def submit(self, *names):
        await self._producer.submit_many([JobRequest(kind="k", payload=name) for name in names])

    def may_end(self, name):
        (self._directory / name).touch()

    async def runs(self, jobs):
        async def holds():
            return (await self._inspector.snapshot(self._pool)).running == jobs

        await wait_until(holds, f"{jobs} jobs run", within_s=WITHIN_SECONDS)

    async def ended_undisturbed(self, jobs):
        async def ended():
            return (await self._inspector.snapshot(self._pool)).finished_total == jobs

        await wait_until(ended, "every job has ended", within_s=WITHIN_SECONDS)
        types = [event.type for event in await self._inspector.events(self._pool, limit=1_000)]
        assert set(types) == UNDISTURBED
        assert types.count("started") == types.count("succeeded") == jobs


@pytest.fixture
async def work(redis, namespace, cluster, tmp_path):
    pool = PoolRef(namespace, "agents")
    yield Work(redis, pool, tmp_path)
    with contextlib.suppress(NotThereError):
        await cluster.delete(paths.agentpools(namespace, "agents"))
    await Inspector(redis).purge(pool)


async def shows(question, expected):
    async def holds():
        return await question() == expected

    await wait_until(holds, f"it shows {expected}", within_s=WITHIN_SECONDS)


@pytest.mark.parametrize("part", ["/pods/", "/scale"])
async def test_an_operator_killed_while_it_scales_in_harms_no_job(
    start_operator, faulty_api, pool_of, look, work, part
):
    """Killed while marking the idle worker's pod or lowering the size.

    The next operator removes the idle worker only.
    """
    first = start_operator("--no-leader-elect", "--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of(**work.spec())
    await shows(lambda: look.condition("Ready"), SERVING)
    await work.submit("long", "short")
    await work.runs(2)
    faulty_api.freeze_at = lambda method, path: method == "PATCH" and part in path.partition("?")[0]
    work.may_end("short")
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    first.stop(signal.SIGKILL)
    faulty_api.thaw.set()
    start_operator("--no-leader-elect")
    await shows(look.replicas, 1)
    await work.runs(1)
    work.may_end("long")
    await work.ended_undisturbed(2)
    await shows(look.replicas, 0)


@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_an_operator_with_a_wrong_clock_scales_correctly(
    start_operator, faulty_api, pool_of, look, work, tmp_path, ahead_s
):
    """An hour ahead of workers, Redis and API server, or behind.

    The operator scales out, keeps busy workers, and scales in.

    The operator uses plain HTTP: an hour in the past, the certificate of a new cluster is not valid yet.
    """
    try:
        clock = Clock(tmp_path / "clock")
    except ClockMissingError as error:
        pytest.skip(str(error))
    clock.move(ahead_s)
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig), environment=clock.environment)
    try:
        await pool_of(**work.spec())
        await shows(lambda: look.condition("Ready"), SERVING)
        await work.submit("long", "short", "other")
        await work.runs(3)
        work.may_end("short")
        work.may_end("other")
        await shows(look.replicas, 1)
        await work.runs(1)
        clock.move(-2 * ahead_s)
        await work.submit("next")
        await work.runs(2)
        work.may_end("long")
        work.may_end("next")
        await work.ended_undisturbed(4)
        await shows(look.replicas, 0)
        assert process.running()
    finally:
        process.close()
        clock.close()


async def test_a_pool_with_workers_can_be_deleted_without_an_operator(
    start_operator, pool_of, look, work, cluster, namespace
):
    """The Deployment and the busy worker are deleted with the pool, without an operator to remove a finalizer."""
    process = start_operator("--no-leader-elect")
    await pool_of(**work.spec())
    await shows(lambda: look.condition("Ready"), SERVING)
    await work.submit("long")
    await work.runs(1)
    process.stop(signal.SIGKILL)
    await cluster.delete(paths.agentpools(namespace, "agents"))
    await shows(lambda: look.found(paths.agentpools(namespace, "agents")), None)
    await shows(lambda: look.found(paths.deployments(namespace, "agents")), None)

    async def pods():
        return (await cluster.list(paths.pods(namespace), labelSelector="agentpool.dev/pool=agents"))[0]

    await shows(pods, [])
