"""The life of a pool with the real operator: creation, scale-out, scale-in, refusal, deletion."""

from __future__ import annotations

import signal
import time

import aiohttp
import pytest

from agentpool_core.errors import RetiredPoolError
from agentpool_core.jobs import JobRequest
from agentpool_core.kube import paths
from agentpool_core.kube.errors import NotThereError
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.keys import notes_of
from tests.fixtures.redis import wait_until

from .conftest import WITHIN_SECONDS, submit


async def test_a_pool_starts_without_workers_and_the_scaling_loop_owns_its_size(
    start_operator, pool_of, look, until, cluster, namespace, ref
):
    """The Deployment starts with 0 replicas, which only the scaling manager owns."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    live = await cluster.get(paths.deployments(namespace, "agents"))
    assert live["spec"]["replicas"] == 0
    owners = {
        entry["manager"]
        for entry in live["metadata"]["managedFields"]
        if "f:replicas" in (entry["fieldsV1"].get("f:spec") or {})
    }
    assert owners == {"agentpool-scaling"}


async def test_jobs_scale_an_empty_pool_out_and_their_end_scales_in(start_operator, pool_of, look, until, redis, ref):
    """Twelve submitted jobs request three workers before the next poll; their end requests none."""
    start_operator()
    await pool_of(scaling={"pollSeconds": 60, "idleSeconds": 1})
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    await submit(redis, ref, 12)
    await until(look.replicas, 3, within_s=5.0)

    async def reported():
        return (await _figure(look, "lastDecision") or {}).get("reason", "")

    await wait_until(lambda: _contains(reported, "12 jobs wait"), "the status has the reason", within_s=5.0)


async def test_a_change_of_size_is_reported_as_a_sentence_in_an_event(
    start_operator, pool_of, look, until, redis, ref, cluster, namespace
):
    """The events of a pool show the change and the reason."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    await submit(redis, ref, 12)

    async def reported():
        found, _ = await cluster.list(paths.events(namespace))
        return [(e["type"], e["reason"], e["message"]) for e in found if e["involvedObject"]["kind"] == "AgentPool"]

    sentence = "Raised from 0 to 3 workers: 12 jobs wait, which takes 3 workers of 5 slots."
    await until(reported, [("Normal", "ScaledUp", sentence)])


async def test_metrics_cover_each_pool_and_no_deleted_pool(
    start_operator, pool_of, look, until, redis, ref, cluster, namespace
):
    """The operator's metrics have sizes and queues by pool; the series of a deleted pool disappear."""
    process = start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    await submit(redis, ref, 12)
    await until(look.replicas, 3)
    port = process.port()
    labels = f'{{namespace="{namespace}",pool="agents"}}'

    async def page():
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            return (await answer.text()).splitlines()

    lines = (f"agentpool_pool_desired_replicas{labels} 3.0", f"agentpool_pool_queued_jobs{labels} 12.0")
    for line in (*lines, "agentpool_operator_leading 1.0"):
        await wait_until(
            lambda reported=line: _contains(page, reported), f"{line} is reported", within_s=WITHIN_SECONDS
        )
    await cluster.delete(paths.agentpools(namespace, "agents"))

    async def names_the_pool():
        return any('pool="agents"' in line for line in await page())

    await until(names_the_pool, False)


async def test_a_pool_scales_to_zero_after_its_jobs(start_operator, pool_of, look, until, redis, ref):
    """Without waiting and running jobs the last worker is removed after idleSeconds."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("QueueReachable"), ("True", "Answering"))
    receipt = await Producer(redis, ref).submit(JobRequest(kind="work", payload={}))
    await until(look.replicas, 1)
    await Producer(redis, ref).cancel(receipt.job_id)
    await until(look.replicas, 0)


async def test_the_reason_for_an_idle_worker_is_reported(start_operator, pool_of, look, until, redis, ref):
    """After the work the status names the reason that keeps the worker, although the size has not changed."""
    start_operator()
    await pool_of(scaling={"pollSeconds": 1, "idleSeconds": 3600})
    await until(lambda: look.condition("QueueReachable"), ("True", "Answering"))
    receipt = await Producer(redis, ref).submit(JobRequest(kind="work", payload={}))
    await until(look.replicas, 1)
    await Producer(redis, ref).cancel(receipt.job_id)

    async def reported():
        return (await _figure(look, "lastDecision") or {}).get("reason")

    await until(reported, "no job waits or runs; the last worker stays 3600 s after the last job")
    assert await look.replicas() == 1


async def test_running_work_keeps_its_pool_up(start_operator, pool_of, look, until, redis, ref):
    """A running job keeps a worker, even with an empty queue."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("QueueReachable"), ("True", "Answering"))
    await submit(redis, ref, 1)
    await until(look.replicas, 1)
    consumer = Consumer(redis, ref, "someone")
    await consumer.register(slots=5, host="h")
    assert len(await consumer.claim(1)) == 1
    await until(lambda: _figure(look, "running"), 1)
    assert await look.replicas() == 1


async def _contains(question, words):
    return words in await question()


async def _figure(look, name):
    return (await look.status()).get(name)


async def test_manual_replicas_are_applied_and_reported(start_operator, pool_of, look, until, ref):
    """spec.replicas sets the size, and ScalingActive says so."""
    start_operator()
    await pool_of(replicas=4)
    await until(look.replicas, 4)
    await until(lambda: look.condition("ScalingActive"), ("False", "ManualReplicas"))


async def test_a_deleted_pool_names_a_foreign_finalizer(start_operator, pool_of, look, until, cluster, namespace, ref):
    """A deleted pool with a foreign finalizer is not Ready and names the finalizer.

    After its removal the pool is deleted.
    """
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    path = paths.agentpools(namespace, "agents")
    await cluster.merge(path, {"metadata": {"finalizers": ["example.com/hold"]}}, manager="user")
    await cluster.delete(path)
    await until(lambda: look.condition("Ready"), ("False", "Deleting"))
    await cluster.merge(path, {"metadata": {"finalizers": None}}, manager="user")
    await until(look.status, {})


async def test_a_typo_in_the_pod_template_is_reported_until_its_correction(start_operator, pool_of, look, until, ref):
    """An unknown field is refused by name, not dropped; after the correction the pool serves."""
    start_operator()
    await pool_of(worker={"template": {"spec": {"nodeSelectr": {"a": "b"}}}})
    await until(lambda: look.condition("Ready"), ("False", "TemplateRefused"))
    (ready,) = [c for c in (await look.status())["conditions"] if c["type"] == "Ready"]
    assert "spec.worker.template.spec.nodeSelectr" in ready["message"]
    assert await look.replicas() is None
    await pool_of(worker={"template": {"spec": {"nodeSelector": {"a": "b"}}}})
    await until(lambda: look.condition("Ready"), ("True", "Serving"))


async def test_a_refused_template_does_not_stop_the_scaling_of_running_workers(
    start_operator, pool_of, look, until, redis, ref
):
    """The workers of the earlier template follow demand while the change is refused."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    await pool_of(worker={"concurrency": 5, "template": {"spec": {"nodeSelectr": {"a": "b"}}}})
    await until(lambda: look.condition("Ready"), ("False", "TemplateRefused"))
    await submit(redis, ref, 12)
    await until(look.replicas, 3)
    assert await look.condition("ScalingActive") == ("True", "FollowingDemand")


async def test_an_invalid_quantity_is_reported_until_its_correction(start_operator, pool_of, look, until, ref):
    """The operator does not retry a value that the API server refuses: the user has to correct the value."""
    start_operator()
    wrong = {"name": "worker", "resources": {"requests": {"cpu": "lots"}}}
    await pool_of(worker={"template": {"spec": {"containers": [wrong]}}})
    await until(lambda: look.condition("Ready"), ("False", "TemplateRefused"))
    await pool_of(worker={"template": {"spec": {"containers": [wrong | {"resources": {"requests": {"cpu": "1"}}}]}}})
    await until(lambda: look.condition("Ready"), ("True", "Serving"))


async def test_a_missing_secret_is_reported_and_affects_only_its_pool(
    start_operator, pool_of, look, until, cluster, namespace, redis_server, ref
):
    """A pool without a Secret says so, and serves once the Secret exists; the remaining pools are unaffected."""
    start_operator()
    await pool_of("lost", redis={"urlFrom": {"secretKeyRef": {"name": "late", "key": "url"}}})
    await pool_of()
    await until(lambda: look.condition("QueueReachable", "lost"), ("False", "SecretNotFound"))
    await until(lambda: look.condition("Ready", "lost"), ("False", "SecretNotFound"))
    assert await look.replicas("lost") is None  # a Deployment would give the pods any Secret of that name
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "late", "labels": {"agentpool.dev/redis": "true"}},
        "stringData": {"url": redis_server.tcp_url},
    }
    await cluster.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
    await until(lambda: look.condition("Ready", "lost"), ("True", "Serving"))


async def test_an_unreachable_redis_holds_the_size(start_operator, pool_of, look, until, redis_server_factory, ref):
    """While Redis is unreachable the size stays and the condition says so; after the outage, scaling continues."""
    server = redis_server_factory()
    start_operator()
    await pool_of(redis={"url": server.tcp_url}, scaling={"pollSeconds": 1, "minReplicas": 2})
    await until(look.replicas, 2)
    server.kill()
    await until(lambda: look.condition("QueueReachable"), ("False", "RedisUnreachable"))
    assert await look.replicas() == 2
    server.restart()
    await until(lambda: look.condition("QueueReachable"), ("True", "Answering"))


async def test_a_password_comes_from_a_secret_beside_the_url(
    start_operator, pool_of, look, until, cluster, namespace, redis_server_factory
):
    """The password is used once the Secret is labelled.

    Pods get the password from the kubelet, and only the Secret has it.
    """
    server = redis_server_factory("--requirepass", "correct@horse/battery")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "credentials"},
        "stringData": {"password": "correct@horse/battery\n"},
    }
    await cluster.create(paths.resource(paths.CORE, "secrets", namespace=namespace), secret)
    start_operator()
    source = {"secretKeyRef": {"name": "credentials"}}
    await pool_of(redis={"url": server.tcp_url, "passwordFrom": source})
    await until(lambda: look.condition("Ready"), ("False", "SecretNotLabelled"))
    assert await look.replicas() is None
    label = {"metadata": {"labels": {"agentpool.dev/redis": "true"}}}
    await cluster.merge(paths.secret(namespace, "credentials"), label, manager="user")
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    live = await cluster.get(paths.deployments(namespace, "agents"))
    (worker,) = live["spec"]["template"]["spec"]["containers"]
    (password,) = [variable for variable in worker["env"] if variable["name"] == "AGENTPOOL_REDIS_PASSWORD"]
    assert password["valueFrom"] == {"secretKeyRef": {"name": "credentials", "key": "password"}}
    label = {"metadata": {"labels": {"agentpool.dev/redis": None}}}
    await cluster.merge(paths.secret(namespace, "credentials"), label, manager="user")
    await until(lambda: look.condition("Ready"), ("False", "SecretNotLabelled"))


async def test_a_wrong_password_is_reported(start_operator, pool_of, look, until, redis_server_factory, ref):
    """The condition says that Redis refused the credentials."""
    server = redis_server_factory("--requirepass", "secret")
    start_operator()
    await pool_of(redis={"url": server.tcp_url})
    await until(lambda: look.condition("QueueReachable"), ("False", "RedisAuthFailed"))


async def test_deletion_never_waits_and_a_deleted_queue_is_purged(
    start_operator, pool_of, look, until, cluster, namespace, redis, ref
):
    """A pool with deletionPolicy Delete is deleted at once, and its keys soon after."""
    start_operator()
    await pool_of(deletionPolicy="Delete")
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    assert await redis.exists(f"ap:{{{ref}}}:conf")
    path = paths.agentpools(namespace, "agents")
    assert "finalizers" not in (await cluster.get(path))["metadata"]
    await cluster.delete(path)
    with pytest.raises(NotThereError):
        await cluster.get(path)

    async def keys():
        return await redis.keys(f"ap:{{{ref}}}:*")

    await until(keys, [])


async def test_a_deleted_pool_with_a_kept_queue_takes_no_jobs_until_its_recreation(
    start_operator, pool_of, until, cluster, namespace, redis, ref
):
    """Retain is the default: waiting jobs are kept, and no job is added that no worker would run."""
    start_operator()
    await pool_of(paused=True)
    await wait_until(
        lambda: redis.hget(notes_of(ref.namespace), ref.name), "the pool is set up in Redis", within_s=WITHIN_SECONDS
    )
    await submit(redis, ref, 1)
    await cluster.delete(paths.agentpools(namespace, "agents"))

    async def refused():
        try:
            await submit(redis, ref, 1)
        except RetiredPoolError:
            return True
        return False

    await until(refused, True)
    kept = (await Inspector(redis).snapshot(ref)).queued
    assert kept >= 1
    await pool_of(paused=True)
    await until(refused, False)
    assert (await Inspector(redis).snapshot(ref)).queued > kept


async def test_at_rest_nothing_is_written(start_operator, pool_of, look, until, cluster, namespace, ref):
    """After a pool is settled, neither the pool nor its children are written again."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    await until(lambda: look.condition("Progressing"), ("False", "Settled"))

    async def versions():
        pool = await cluster.get(paths.agentpools(namespace, "agents"))
        child = await cluster.get(paths.deployments(namespace, "agents"))
        return pool["metadata"]["resourceVersion"], child["metadata"]["resourceVersion"]

    before, begin = await versions(), time.monotonic()

    async def watched_for_four_polls():
        assert await versions() == before
        return time.monotonic() - begin > 4.0

    await wait_until(watched_for_four_polls, "four polls went by without a write", within_s=10.0)


async def test_a_second_operator_takes_over_from_a_killed_one(start_operator, pool_of, look, until, redis, ref):
    """After kill -9 of the leader the second operator leads and scales; `test_election` shows the limit of 15 s."""
    first = start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    leader = await look.holder()
    second = start_operator()
    await wait_until(
        lambda: "serving" in second.written(), "the second one waits for the Lease", within_s=WITHIN_SECONDS
    )
    first.stop(signal.SIGKILL)

    async def taken_over():
        return await look.holder() not in {"", leader}

    await wait_until(taken_over, "the Lease changed hands", within_s=WITHIN_SECONDS)
    await submit(redis, ref, 6)
    await until(look.replicas, 2)


async def test_a_leader_that_stops_frees_its_lease(start_operator, pool_of, look, until, ref):
    """A clean stop resigns, exits 0 and lets a second operator lead at once."""
    first = start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    assert first.stop() == 0
    assert await look.holder() == ""
