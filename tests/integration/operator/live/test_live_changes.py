"""Specs that change under busy workers: settings reach running workers, and a new template replaces workers."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, Producer
from tests.fixtures.redis import wait_until

WITHIN_SECONDS = 60.0
ONE_WORKER = {"pollSeconds": 1, "idleSeconds": 60, "minReplicas": 1, "maxReplicas": 1}


@pytest.fixture
async def pool(redis, namespace, cluster):
    found = PoolRef(namespace, "agents")
    yield found
    await cluster.delete(paths.agentpools(namespace, "agents"))
    await Inspector(redis).purge(found)


@pytest.fixture
def spec(tmp_path):
    """Jobs of one kind end when a file exists."""

    def made(*, concurrency=1, colour="red"):
        container = {"name": "worker", "image": "any", "env": [{"name": "COLOUR", "value": colour}]}
        waits = f"while [ ! -e {tmp_path / 'may-end'} ]; do sleep 0.1; done; echo '\"'$COLOUR'\"'"
        return {
            "handler": {"command": {"argv": ["sh", "-c", waits], "passEnv": ["COLOUR"]}},
            "worker": {
                "concurrency": concurrency,
                "drainSeconds": 60,
                "template": {"spec": {"containers": [container]}},
            },
            "scaling": ONE_WORKER,
        }

    return made


@pytest.fixture
def pods(cluster, namespace):
    async def found(*, leaving=None):
        live, _ = await cluster.list(paths.pods(namespace), labelSelector="agentpool.dev/pool=agents")
        wanted = [p for p in live if leaving is None or ("deletionTimestamp" in p["metadata"]) == leaving]
        return {pod["metadata"]["uid"] for pod in wanted}

    return found


async def shows(question, expected):
    async def holds():
        return await question() == expected

    await wait_until(holds, f"it shows {expected}", within_s=WITHIN_SECONDS)


async def serving(look):
    await shows(lambda: look.condition("Ready"), ("True", "Serving"))


async def test_workers_get_new_settings_without_a_restart(
    start_operator, pool_of, look, redis, pool, spec, pods, tmp_path
):
    """With an additional slot the second job starts beside the first, on the same pod."""
    start_operator()
    await pool_of(**spec())
    await serving(look)
    await Producer(redis, pool).submit_many([JobRequest(kind="k")] * 2)

    async def running():
        return (await Inspector(redis).snapshot(pool)).running

    await shows(running, 1)
    before = await pods()
    await pool_of(**spec(concurrency=2))
    await shows(running, 2)
    assert await pods() == before
    (tmp_path / "may-end").touch()
    await shows(running, 0)


async def test_a_changed_template_rolls_out_and_the_busy_worker_drains(
    start_operator, pool_of, look, redis, pool, spec, pods, tmp_path
):
    """The running job ends on its pod; the next job runs on a pod of the new template."""
    start_operator()
    await pool_of(**spec())
    await serving(look)
    first = await Producer(redis, pool).submit(JobRequest(kind="k"))
    inspector = Inspector(redis)

    async def running():
        return (await inspector.snapshot(pool)).running

    await shows(running, 1)
    before = await pods()
    await pool_of(**spec(colour="blue"))

    async def leaving():
        return await pods(leaving=True)

    await shows(leaving, before)
    second = await Producer(redis, pool).submit(JobRequest(kind="k"))
    await shows(running, 2)  # the new worker is running, and the old worker still has a job
    (tmp_path / "may-end").touch()

    async def results():
        return [(await inspector.job(pool, receipt.job_id)).result for receipt in (first, second)]

    await shows(results, ["red", "blue"])
    assert {event.type for event in await inspector.events(pool)} == {"queued", "started", "succeeded"}

    async def gone():
        return before.isdisjoint(await pods())

    await shows(gone, True)
