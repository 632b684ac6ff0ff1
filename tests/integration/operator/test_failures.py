"""Failures with real processes.

Frozen and killed leaders, an API server that refuses, disconnects or is unreachable.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal

import kopf
import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.connection import load
from agentpool_core.kube.errors import NotThereError
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Inspector
from agentpool_operator.pools import watch_handlers, watch_thread
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.watch_handlers import RETRY_SECONDS
from agentpool_operator.pools.watches import DISCOVERY, Watches
from tests.fixtures.redis import wait_until

from .conftest import submit

WITHIN_SECONDS = 40.0
AWAY_SECONDS = 60.0  # an outage
SERVING = ("True", "Serving")


async def shows(question, expected, *, within_s=WITHIN_SECONDS):
    async def holds():
        return await question() == expected

    await wait_until(holds, f"it shows {expected}", within_s=within_s)


async def test_a_frozen_leaders_late_write_does_nothing(
    start_operator, faulty_api, pool_of, look, redis, ref, namespace, cluster
):
    """A leader is stopped with a write in flight; the second operator leads and decides; the late write is void."""
    frozen = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await shows(lambda: look.condition("Ready"), SERVING)
    leader = await look.holder()
    faulty_api.freeze_at = lambda method, path: method == "PATCH" and path.partition("?")[0].endswith("/scale")
    await submit(redis, ref, 6)
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    frozen.send(signal.SIGSTOP)
    second = start_operator()

    async def taken_over():
        return await look.holder() not in {"", leader}

    await wait_until(taken_over, f"the Lease changed hands\n{second.written()}", within_s=WITHIN_SECONDS)
    await shows(look.replicas, 2)
    await submit(redis, ref, 9)
    await shows(look.replicas, 3)
    version = (await cluster.get(paths.deployments(namespace, "agents")))["metadata"]["generation"]
    writes = len(faulty_api.writes)
    faulty_api.thaw.set()
    await wait_until(lambda: faulty_api.late, "the late write arrived", within_s=WITHIN_SECONDS)
    assert faulty_api.late == 409
    frozen.send(signal.SIGCONT)
    await wait_until(lambda: "no longer leading" in frozen.written(), "the frozen one noticed", within_s=WITHIN_SECONDS)
    assert faulty_api.writes[writes:] == []
    assert (await cluster.get(paths.deployments(namespace, "agents")))["metadata"]["generation"] == version
    assert await look.replicas() == 3


async def test_a_write_that_hangs_holds_no_other_pool_up(start_operator, faulty_api, pool_of, look, redis, namespace):
    """While the API server delays the answer to one pool's new size, a second pool gets the right size."""
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    hangs, goes_on = PoolRef(namespace, "hangs"), PoolRef(namespace, "goes-on")
    for pool in (hangs, goes_on):
        await pool_of(pool.name)
        await shows(lambda name=pool.name: look.condition("Ready", name), SERVING)
    faulty_api.freeze_at = lambda method, path: method == "PATCH" and path.partition("?")[0].endswith("hangs/scale")
    await submit(redis, hangs, 6)
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    await submit(redis, goes_on, 6)
    await shows(lambda: look.replicas("goes-on"), 2)
    assert await look.replicas("hangs") == 0
    assert "hangs is tried again" not in process.written(), "its write was still on the way"
    faulty_api.thaw.set()
    await shows(lambda: look.replicas("hangs"), 2)
    for pool in (hangs, goes_on):
        await Inspector(redis).purge(pool)


async def test_a_redis_that_hangs_holds_no_other_pool_up(
    start_operator, pool_of, look, redis, ref, redis_server_factory
):
    """The condition of a hanging Redis appears on the affected pool only; a second pool scales out at once."""
    server = redis_server_factory()
    process = start_operator()
    await pool_of("hangs", redis={"url": server.tcp_url})
    await pool_of(scaling={"pollSeconds": 60})
    await shows(lambda: look.condition("Ready", "hangs"), SERVING)
    await shows(lambda: look.condition("Ready"), SERVING)
    server.freeze()
    await shows(lambda: look.condition("QueueReachable", "hangs"), ("False", "RedisUnreachable"))
    await submit(redis, ref, 6)
    await shows(look.replicas, 2)
    assert await look.condition("QueueReachable", "hangs") == ("False", "RedisUnreachable")
    assert process.running()
    server.thaw()
    await shows(lambda: look.condition("QueueReachable", "hangs"), ("True", "Answering"))


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_refused_writes_are_repeated(start_operator, faulty_api, pool_of, look, redis, ref, status):
    """The operator loses no refused write; when the API server accepts writes again, the pool gets the right size."""
    faulty_api.fail(status, times=4)
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await shows(lambda: look.condition("Ready"), SERVING)
    faulty_api.fail(status, times=2, part="/scale")
    await submit(redis, ref, 6)
    await shows(look.replicas, 2)
    assert faulty_api.served.count(status) >= 5, process.written()


async def test_a_failing_webhook_is_reported_and_recovers(start_operator, faulty_api, pool_of, look, redis, ref):
    """The API server answers 500, as under overload: the condition names the webhook, and the pool scales meanwhile."""
    words = 'Internal error occurred: failed calling webhook "w.example.com": no such service'
    faulty_api.fail(500, times=2, part="/deployments/", message=words)
    start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await shows(lambda: look.condition("Ready"), ("False", "WebhookFailed"))
    # The pass that created the Deployment is over.
    await shows(lambda: look.condition("Progressing"), ("False", "Settled"))
    faulty_api.fail(500, times=1000, part="fieldManager=agentpool&", message=words)
    await pool_of(worker={"template": {"metadata": {"labels": {"team": "a"}}}})
    await shows(lambda: look.condition("Progressing"), ("False", "WebhookFailed"))
    await submit(redis, ref, 6)
    await shows(look.replicas, 2)
    assert await look.condition("Progressing") == ("False", "WebhookFailed")
    faulty_api.faults.clear()
    await shows(lambda: look.condition("Progressing"), ("True", "Starting"))


async def test_expired_and_broken_watches_start_again(
    start_operator, faulty_api, pool_of, look, ref, cluster, namespace
):
    """Watches that break or are too old (410) start again and report the missed changes."""
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await shows(lambda: look.condition("Ready"), SERVING)
    faulty_api.fail(410, times=3, methods={"GET"}, part="watch=", reason="Expired")
    faulty_api.end_watches()
    await wait_until(
        lambda: not faulty_api.faults, "the watches got the answer that they are too old", within_s=WITHIN_SECONDS
    )
    await pool_of(replicas=2)
    await shows(look.replicas, 2)
    await wait_until(lambda: "start again" in process.written(), "the watches started again", within_s=WITHIN_SECONDS)
    await pool_of(replicas=3)
    await shows(look.replicas, 3)
    assert process.running()


@pytest.fixture
async def pools():
    """The registry that `watches` feeds."""
    return Pools()


@pytest.fixture
async def watches(faulty_api, cluster, pools, ref):
    """The watches of one namespace, running in the test's own process."""
    watches = Watches(cluster, pools, (await load(faulty_api.kubeconfig)).settings, namespaces=[ref.namespace])
    running = asyncio.create_task(watches.run())
    yield watches
    await watches.close()
    await asyncio.wait_for(running, WITHIN_SECONDS)


async def begun(watches, faulty_api):
    """Wait until all watches run: a watch that was just opening would outlive `end_watches`."""
    await wait_until(lambda: watches.ready, "all that is to be watched is served", within_s=WITHIN_SECONDS)
    await wait_until(
        lambda: faulty_api.open_watches() == len(watch_handlers.WATCHED), "all watches run", within_s=WITHIN_SECONDS
    )


async def test_restarting_watches_do_not_cancel_the_passes(faulty_api, watches, pools, pool_of, ref):
    """Kopf cancels all tasks of its event loop at the end; the operator's passes must not be among these tasks."""
    await begun(watches, faulty_api)
    work = asyncio.create_task(asyncio.Event().wait())  # started later than kopf, as every pass is
    faulty_api.fail(410, times=4, methods={"GET"}, part="watch=", reason="Expired")
    faulty_api.end_watches()
    await wait_until(
        lambda: not faulty_api.faults, "the watches got the answer that they are too old", within_s=WITHIN_SECONDS
    )
    lists = faulty_api.lists
    await wait_until(lambda: faulty_api.lists > lists, "the watches started again", within_s=WITHIN_SECONDS)
    await pool_of()
    await wait_until(lambda: pools.get(ref), "the watches see new objects", within_s=WITHIN_SECONDS)
    assert not work.done()
    await end(work)


def test_kopf_does_not_kill_the_process():
    """Kopf would kill the whole process ten minutes after a broken watch, although the watches have restarted."""
    assert watch_handlers.watch_settings().process.ultimate_exiting_timeout is None


async def test_watches_restart_although_a_task_misses_the_cancel(faulty_api, cluster, pools, pool_of, ref, monkeypatch):
    """Kopf cancels a task once and waits for the end.

    A task that missed the cancel left the operator blind for good.
    """

    async def forgets() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    forgetful: list[asyncio.Task[None]] = []

    def with_a_forgetful_task(*args):
        registry = watch_handlers.handlers(*args)

        @kopf.on.startup(registry=registry)
        async def start(**_):
            forgetful.append(asyncio.create_task(forgets()))

        return registry

    monkeypatch.setattr(watch_thread, "handlers", with_a_forgetful_task)
    watches = Watches(cluster, pools, (await load(faulty_api.kubeconfig)).settings, namespaces=[ref.namespace])
    running = asyncio.create_task(watches.run())
    await begun(watches, faulty_api)
    faulty_api.fail(410, times=1, methods={"GET"}, part="agentpools?watch=", reason="Expired")
    faulty_api.end_watches()
    await wait_until(lambda: len(forgetful) > 1, "the watches started again", within_s=WITHIN_SECONDS)
    await pool_of()
    await wait_until(lambda: pools.get(ref), "the watches see new objects", within_s=WITHIN_SECONDS)
    assert forgetful[0].cancelled()
    await watches.close()
    await asyncio.wait_for(running, WITHIN_SECONDS)


async def test_a_missing_right_to_watch_is_named_in_the_log(faulty_api, watches, pools, pool_of, ref, caplog):
    """Kopf retries a refusal for some seconds; then the watches fail, and the log has the API server's text."""
    words = 'pods is forbidden: User "x" cannot list resource "pods"'
    faulty_api.fail(403, times=1 + len(RETRY_SECONDS), methods={"GET"}, part="/pods?", message=words)
    await wait_until(lambda: not faulty_api.faults, "all attempts were refused", within_s=WITHIN_SECONDS)
    await pool_of()
    await wait_until(
        lambda: "the watches failed and start again" in caplog.text, "it is logged", within_s=WITHIN_SECONDS
    )
    assert words in caplog.text
    await wait_until(lambda: pools.get(ref), "the watches see new objects", within_s=WITHIN_SECONDS)


async def test_kopf_starts_again_until_it_has_found_all_kinds(
    faulty_api, cluster, pools, pool_of, ref, monkeypatch, caplog
):
    """One of several API servers may serve a new kind later than the rest: kopf looks once, and watched nothing."""
    monkeypatch.setattr(watch_thread, "DISCOVERY_SECONDS", 0.5)
    faulty_api.faults.append((lambda _method, path: path == DISCOVERY, 404, {"reason": "NotFound"}))  # kopf's task only
    watches = Watches(cluster, pools, (await load(faulty_api.kubeconfig)).settings, namespaces=[ref.namespace])
    running = asyncio.create_task(watches.run())
    await pool_of()
    await wait_until(lambda: pools.get(ref), "the pool is seen", within_s=WITHIN_SECONDS)
    assert not faulty_api.faults
    assert "kopf has not found agentpools" in caplog.text
    await watches.close()
    await asyncio.wait_for(running, WITHIN_SECONDS)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_refused_reads_are_repeated(start_operator, faulty_api, pool_of, look, redis, ref, status):
    """Lists, reads and new watches that are refused during the start are retried."""
    faulty_api.fail(status, times=6, methods={"GET"}, part="namespaces")
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await shows(lambda: look.condition("Ready"), SERVING)
    await submit(redis, ref, 6)
    await shows(look.replicas, 2)
    assert faulty_api.served.count(status) == 6, process.written()


@pytest.mark.timeout(240)
async def test_the_operator_survives_an_outage_of_the_api_server(start_operator, faulty_api, pool_of, look, redis, ref):
    """The operator survives an outage longer than the Lease, serves later changes, and logs only a few lines."""
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of(gpu={"policy": "Provision", "maxPending": 2})
    await shows(lambda: look.condition("Ready"), SERVING)
    before = len(process.written().splitlines())
    faulty_api.away = True
    faulty_api.end_watches()
    await submit(redis, ref, 6)
    await wait_until(lambda: "no longer leading" in process.written(), "it stopped leading", within_s=WITHIN_SECONDS)
    await asyncio.sleep(AWAY_SECONDS)
    logged = [line.partition(": ")[2] for line in process.written().splitlines()[before:]]
    faulty_api.away = False
    await wait_until(lambda: "answers, after" in process.written(), "the log has the end", within_s=WITHIN_SECONDS)
    assert [re.sub(r"(?<=unreachable:) .* \(.*\)|\d+", "…", line) for line in logged] == [
        "Kubernetes API unreachable:…. Retrying every … s. Pools keep their size until the API server answers.",
        "no longer leading",
        "Kubernetes API unreachable:…, for … s now. Retrying every … s.",
    ]
    await shows(look.replicas, 2)
    assert process.running()


def nth(number, method, part):
    """Return a condition that freezes the n-th request of this kind."""
    left = itertools.count(number - 1, -1)
    return lambda verb, path: verb == method and part in path.partition("?")[0] and next(left) == 0


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("/deployments/", 1),  # the Deployment is created
        ("/deployments/", 2),  # the size is handed over to the scaling loop
        ("/deployments/", 3),  # the creator gives up the size
        ("/poddisruptionbudgets/", 1),
        ("/status", 1),
        ("/scale", 1),
    ],
)
async def test_the_next_operator_completes_the_pass_of_a_killed_operator(
    start_operator, faulty_api, pool_of, look, redis, ref, cluster, namespace, part, number
):
    """The operator dies with a write in flight, at each step of a pass: the next operator completes the pass."""
    faulty_api.freeze_at = nth(number, "PATCH", part)
    first = start_operator("--no-leader-elect", "--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    if part == "/scale":
        await shows(lambda: look.condition("Ready"), SERVING)
        await submit(redis, ref, 6)
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    first.stop(signal.SIGKILL)
    faulty_api.thaw.set()
    start_operator("--no-leader-elect")
    await shows(lambda: look.condition("Ready"), SERVING)
    if part != "/scale":
        await submit(redis, ref, 6)
    await shows(look.replicas, 2)
    live = await cluster.get(paths.deployments(namespace, "agents"))
    owners = {
        e["manager"] for e in live["metadata"]["managedFields"] if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }
    assert owners == {"agentpool-scaling"}


async def test_the_next_operator_publishes_the_settings_of_a_killed_operator(
    start_operator, pool_of, look, redis_server_factory
):
    """Redis is suspended in the middle of the first pass, and the operator dies: the next operator starts over."""
    server = redis_server_factory()
    server.freeze()
    first = start_operator("--no-leader-elect")
    await pool_of(redis={"url": server.tcp_url})
    await shows(lambda: look.condition("QueueReachable"), ("False", "RedisUnreachable"))
    first.stop(signal.SIGKILL)
    server.thaw()
    start_operator("--no-leader-elect")
    await shows(lambda: look.condition("Ready"), SERVING)


async def test_the_next_operator_completes_the_purge_of_a_killed_operator(
    start_operator, faulty_api, pool_of, look, redis, ref, cluster, namespace
):
    """The operator dies while its lookup of the pool is in flight; the next operator removes the keys."""
    first = start_operator("--no-leader-elect", "--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of("other")
    await pool_of(deletionPolicy="Delete")
    await shows(lambda: look.condition("Ready"), SERVING)
    await submit(redis, ref, 3)
    faulty_api.freeze_at = nth(2, "GET", "/agentpools/agents")  # the first lookup has found no pool
    await cluster.delete(paths.agentpools(namespace, "agents"))
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    first.stop(signal.SIGKILL)
    faulty_api.thaw.set()
    assert await redis.exists(f"ap:{{{ref}}}:conf")
    start_operator("--no-leader-elect")

    async def keys():
        return await redis.keys(f"ap:{{{ref}}}:*")

    await shows(keys, [])
    await Inspector(redis).purge(PoolRef(namespace, "other"))


async def test_a_delete_does_not_hang_without_an_operator(start_operator, pool_of, look, ref, cluster, namespace):
    """The pool is deleted at once, without an operator to remove a finalizer."""
    process = start_operator("--no-leader-elect")
    await pool_of(deletionPolicy="Delete")
    await shows(lambda: look.condition("Ready"), SERVING)
    process.stop(signal.SIGKILL)
    await cluster.delete(paths.agentpools(namespace, "agents"))
    with pytest.raises(NotThereError):
        await cluster.get(paths.agentpools(namespace, "agents"))
