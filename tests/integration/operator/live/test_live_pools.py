"""Pools on a whole cluster: GPUs shared by priority, pause, failing or unschedulable pods, secrets, namespaces."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, Producer
from tests.fixtures.redis import wait_until

WITHIN_SECONDS = 60.0
SLEEPER = {"command": {"argv": ["sleep", "30"]}}
QUICK = {
    "pollSeconds": 1,
    "idleSeconds": 0,
    "maxReplicas": 6,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}
ONE_SLOT = {"concurrency": 1, "drainSeconds": 1}


@pytest.fixture
async def pool_named(pool_of, cluster, namespace, redis):
    """Apply pools; delete them and their queues after the test."""
    made = set()

    async def apply(name, **spec):
        made.add(name)
        await pool_of(name, **{"handler": SLEEPER, "worker": ONE_SLOT, "scaling": QUICK, **spec})
        return PoolRef(namespace, name)

    yield apply
    for name in made:
        await cluster.delete(paths.agentpools(namespace, name))
        await Inspector(redis).purge(PoolRef(namespace, name))


async def shows(question, expected):
    async def holds():
        return await question() == expected

    await wait_until(holds, f"it shows {expected}", within_s=WITHIN_SECONDS)


async def submit(redis, pool, count):
    async def taken():
        return await Inspector(redis).settings(pool)

    await wait_until(lambda: _known(taken), "the queue is set up", within_s=WITHIN_SECONDS)
    return await Producer(redis, pool).submit_many([JobRequest(kind="k", payload=n) for n in range(count)])


async def _known(question):
    try:
        return await question()
    except Exception:  # noqa: BLE001 - not created yet
        return None


async def test_pools_share_gpus_by_priority_and_within_the_total(start_operator, pool_named, look, redis, cluster):
    """Two pools that request six GPUs each share the free GPUs: the higher priority first.

    The second waits and says so.
    """
    nodes, _ = await cluster.list(paths.nodes())
    gpus = sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)
    start_operator()
    low = await pool_named("low", gpu={"perWorker": 1, "priority": 0})
    more = {**QUICK, "maxReplicas": gpus + 2}
    high = await pool_named("high", gpu={"perWorker": 1, "priority": 10}, scaling=more)
    await shows(lambda: look.condition("Ready", "low"), ("True", "Serving"))
    await submit(redis, high, gpus + 2)
    await shows(lambda: look.replicas("high"), gpus)
    await submit(redis, low, 3)
    await shows(lambda: look.condition("ScalingLimited", "low"), ("True", "GPUCapacity"))
    assert await look.replicas("low") == 0
    assert await look.condition("ScalingLimited", "high") == ("True", "GPUCapacity")


async def test_a_paused_pool_finishes_its_job_and_removes_its_worker(start_operator, pool_named, look, redis, tmp_path):
    """Pausing stops no running job; the waiting jobs stay, and continue with the pool."""
    start_operator()
    may_end = tmp_path / "may-end"
    pool_is = {
        "handler": {"command": {"argv": ["sh", "-c", f"while [ ! -e {may_end} ]; do sleep 0.1; done; echo 1"]}},
        "scaling": {**QUICK, "maxReplicas": 1},
    }
    pool = await pool_named("paused", **pool_is)
    await submit(redis, pool, 3)
    snapshot = Inspector(redis).snapshot

    async def figures():
        seen = await snapshot(pool)
        return seen.running, seen.queued, seen.paused

    await shows(figures, (1, 2, False))
    await pool_named("paused", **pool_is, paused=True)
    await shows(figures, (1, 2, True))
    await shows(lambda: look.condition("ScalingActive", "paused"), ("False", "Paused"))
    assert await look.replicas("paused") == 1
    may_end.touch()
    await shows(lambda: look.replicas("paused"), 0)
    await shows(figures, (0, 2, True))
    assert "returned" not in {event.type for event in await Inspector(redis).events(pool)}
    await pool_named("paused", **pool_is)
    await shows(figures, (0, 0, False))


async def test_crashing_and_unschedulable_pods_are_reported(start_operator, pool_named, look, cluster, namespace):
    """A worker that exits at once and an unschedulable worker: both pools report the cause by condition and event."""
    start_operator()
    crash = {"containers": [{"name": "worker", "image": "any", "command": ["sh", "-c", "echo no such app; exit 3"]}]}
    await pool_named("crash", scaling={**QUICK, "minReplicas": 1}, worker={"template": {"spec": crash}})
    await pool_named(
        "lost", scaling={**QUICK, "minReplicas": 1}, worker={"template": {"spec": {"nodeSelector": {"no": "where"}}}}
    )

    async def crash_is_reported():
        conditions = (await look.status("crash")).get("conditions") or []
        messages = {(c["type"], c["reason"]): c["message"] for c in conditions}
        return "its last words: no such app" in messages.get(("Ready", "CrashLoopBackOff"), "")

    async def warned():
        events, _ = await cluster.list(paths.events(namespace))
        return {(e["involvedObject"]["name"], e["reason"]) for e in events if e["type"] == "Warning"}

    await wait_until(crash_is_reported, "the crash is reported with its last words", within_s=WITHIN_SECONDS)
    await shows(lambda: look.condition("Ready", "lost"), ("False", "FailedScheduling"))

    async def both_are_reported():
        return {("crash", "CrashLoopBackOff"), ("lost", "FailedScheduling")} <= await warned()

    await wait_until(both_are_reported, "an event reports each pool", within_s=WITHIN_SECONDS)


async def test_only_watched_namespaces_are_served(start_operator, pool_named, look, cluster, namespace):
    """The operator does not touch a pool in a namespace outside its list."""
    other = f"{namespace}-other"
    await cluster.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    body = {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": "far", "namespace": other},
        "spec": {"handler": SLEEPER, "queue": {"redis": {"url": "redis://127.0.0.1:1/0"}}},
    }
    await cluster.create(paths.agentpools(other), body)
    start_operator()
    await pool_named("near")
    await shows(lambda: look.condition("Ready", "near"), ("True", "Serving"))
    far = await cluster.get(paths.agentpools(other, "far"))
    assert "conditions" not in (far.get("status") or {})
    await cluster.delete(paths.agentpools(other, "far"))


async def test_a_missing_secret_of_a_volume_is_reported_and_recovers(
    start_operator, pool_named, look, cluster, namespace, redis
):
    """The pods are stuck during their creation; no pod status has the cause, but an event of the node does."""
    start_operator()
    volumes = {
        "volumes": [{"name": "keys", "secret": {"secretName": "late"}}],
        "containers": [{"name": "worker", "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}],
    }
    pool = await pool_named("keyless", worker={**ONE_SLOT, "template": {"spec": volumes}})
    await submit(redis, pool, 1)
    await shows(lambda: look.condition("Ready", "keyless"), ("False", "FailedMount"))
    (ready,) = [c for c in (await look.status("keyless"))["conditions"] if c["type"] == "Ready"]
    assert 'secret "late" not found' in ready["message"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"key": "k"}}
    await cluster.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
    await shows(lambda: look.condition("Ready", "keyless"), ("True", "Serving"))
