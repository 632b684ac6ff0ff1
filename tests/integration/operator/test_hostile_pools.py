"""A single pool cannot stop the operator: any hostile content ends as that pool's condition.

The remaining pools are served.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector
from agentpool_core.queue.keys import Keys
from agentpool_operator.process import run
from agentpool_operator.queue.redis_connections import LARGEST_REPLY_BYTES
from agentpool_operator.settings import OperatorSettings
from tests.fixtures.hostile import CONSTANT, hostile_redis
from tests.fixtures.redis import wait_until

WITHIN_SECONDS = 60.0
REASONS = {"RedisUnreachable", "QueueUnreadable", "RedisAuthFailed", "SettingsMissing"}


async def unserved(look, names) -> bool:
    """Return whether each of these pools reports that it is not served."""
    found = [await look.condition("Ready", name) for name in names]
    return all(condition is not None and condition[0] == "False" for condition in found)


async def all_is_well(look, operator, *, good: str = "agents") -> None:
    """Assert that the operator runs, that no unexpected error is logged, and that the good pool is served."""

    async def served() -> bool:
        return await look.condition("Ready", good) == ("True", "Serving")

    await wait_until(served, f"the good pool is served\n{operator.written()[-3000:]}", within_s=WITHIN_SECONDS)
    assert operator.running(), operator.written()[-6000:]
    assert "Traceback" not in operator.written(), operator.written()[-6000:]


@pytest.mark.timeout(240)
async def test_a_hostile_redis_harms_its_own_pool_only(start_operator, pool_of, look):
    """Wrong types, garbage, huge numbers, silence, endless data: each is a condition; a second pool is served."""
    operator = start_operator()
    async with AsyncExitStack() as stack:
        for name, answer in CONSTANT.items():
            url = await stack.enter_async_context(hostile_redis(answer))
            await pool_of(name.replace("_", "-"), redis={"url": url})
        names = [name.replace("_", "-") for name in CONSTANT]
        await wait_until(lambda: unserved(look, names), "each hostile pool is reported", within_s=WITHIN_SECONDS)
        await pool_of()
        await all_is_well(look, operator)
        for name in names:
            status, reason = await look.condition("QueueReachable", name)
            assert (status, reason in REASONS) == ("False", True), (
                name,
                reason,
            )


@pytest.mark.timeout(240)
async def test_an_unusable_url_harms_its_own_pool_only(start_operator, pool_of, look, redis_server):
    """A foreign option, an unknown option, an option without a value, an option of a wrong type."""
    operator = start_operator()
    options = ("ssl_ca_certs=/x", "nonsense=1", "retry=", "retry=x", "socket_timeout=x", "db=x", "max_connections=-1",
               "protocol=9", "health_check_interval=x", "decode_responses=x", "connection_class=x")  # fmt: skip
    names = [f"u{number}" for number in range(len(options))]
    for name, option in zip(names, options, strict=True):
        await pool_of(name, redis={"url": f"{redis_server.tcp_url}?{option}"})
    await pool_of()
    await all_is_well(look, operator)

    async def reported() -> bool:
        found = [await look.condition("QueueReachable", name) for name in names]
        return all(condition is not None for condition in found)

    await wait_until(reported, "each pool has its condition", within_s=WITHIN_SECONDS)
    status, reason = await look.condition("QueueReachable", "u1")
    assert (status, reason in {"InvalidRedisURL", "QueueUnreadable"}) == ("False", True)
    assert operator.running()


@pytest.mark.timeout(240)
async def test_corrupt_records_harm_their_own_pool_only(start_operator, pool_of, look, redis, namespace):
    """A field of the settings, the counters or a worker's record is no number, or a key has a wrong type."""
    operator = start_operator()
    corrupt = {
        "conf": ("HSET", lambda keys: (keys.conf, "routes", "not JSON")),
        "counters": ("HSET", lambda keys: (keys.counters, "submitted", "many", "q:default:task", "x", "x:w", "nan")),
        "info": ("HSET", lambda keys: (keys.worker_info, "w", "not four words")),
        "type": ("SET", lambda keys: (keys.conf, "text")),
    }  # fmt: skip
    for name in corrupt:
        await pool_of(name)

        async def serves(name: str = name) -> bool:
            return await look.condition("Ready", name) == ("True", "Serving")

        await wait_until(serves, f"{name} is served", within_s=WITHIN_SECONDS)
    for name, (command, arguments) in corrupt.items():
        keys = Keys(PoolRef(namespace, name))
        if command == "SET":
            await redis.execute_command("DEL", keys.conf)
        await redis.execute_command(command, *arguments(keys))

    async def reported() -> bool:  # all pools of one Redis are read together, so the remaining pools have been read too
        return (await look.condition("QueueReachable", "type") or ("", ""))[0] == "False"

    await wait_until(
        reported, f"a key of the wrong type is reported\n{operator.written()[-2000:]}", within_s=WITHIN_SECONDS
    )
    await pool_of()
    await all_is_well(look, operator)
    for name in corrupt:
        await Inspector(redis).purge(PoolRef(namespace, name))


@pytest.mark.timeout(240)
async def test_a_record_too_large_to_read_harms_its_own_pool_only(start_operator, pool_of, look, redis, namespace):
    """Pools of one Redis are read together; when one reply ends the connection, the remaining pools are read alone."""
    operator = start_operator()
    names = ("large", "agents", "other")
    for name in names:
        await pool_of(name)

        async def serves(name: str = name) -> bool:
            return await look.condition("Ready", name) == ("True", "Serving")

        await wait_until(serves, f"{name} is served", within_s=WITHIN_SECONDS)
    await redis.execute_command(
        "HSET", Keys(PoolRef(namespace, "large")).counters, "junk", "x" * 2 * LARGEST_REPLY_BYTES
    )
    await wait_until(lambda: unserved(look, ["large"]), "the pool is reported", within_s=WITHIN_SECONDS)
    for replicas in (1, 2):
        await pool_of(replicas=replicas)

        async def sized(replicas: int = replicas) -> bool:
            return await look.replicas() == replicas

        await wait_until(sized, "another pool is sized", within_s=WITHIN_SECONDS)
        assert await look.condition("QueueReachable") == ("True", "Answering")
        assert await look.condition("QueueReachable", "large") == ("False", "RedisUnreachable")
    await all_is_well(look, operator, good="other")
    for name in names:
        await Inspector(redis).purge(PoolRef(namespace, name))


async def unserved_spec(look, name: str) -> bool:
    """Return whether the pool reports a spec that cannot be served."""
    return await look.condition("Ready", name) == ("False", "InvalidSpec")


@pytest.mark.timeout(240)
async def test_a_template_nested_without_end_is_refused(start_operator, pool_of, look, cluster, namespace):
    """A deep template would exhaust the stack of a parser, and a schema could read files; the pool names the place."""
    operator = start_operator()
    for depth in (100, 300):
        deep: dict = {}
        for _ in range(depth):
            deep = {"a": deep}
        await pool_of(f"d{depth}", worker={"template": {"metadata": {"annotations": deep}}})

        refused = partial(unserved_spec, look, f"d{depth}")
        await wait_until(refused, f"the template is refused\n{operator.written()[-2000:]}", within_s=WITHIN_SECONDS)
    status = await look.status("d300")
    (ready,) = [condition for condition in status["conditions"] if condition["type"] == "Ready"]
    assert "spec.worker.template.metadata.annotations" in ready["message"]
    assert "64 levels" in ready["message"]
    schema = {"input": {"properties": {"a": {"$ref": "file:///etc/passwd"}}}}
    await pool_of("reading", routes=[{"name": "files", "kinds": ["read"], "schema": schema}])
    await wait_until(lambda: unserved_spec(look, "reading"), "the schema is refused", within_s=WITHIN_SECONDS)
    status = await look.status("reading")
    (ready,) = [condition for condition in status["conditions"] if condition["type"] == "Ready"]
    assert "spec.routes.0.schema.input" in ready["message"]
    assert "#/properties/a: " in ready["message"]
    await pool_of()
    await all_is_well(look, operator)


@pytest.mark.timeout(240)
async def test_a_pod_with_an_impossible_label_is_ignored(start_operator, pool_of, look, cluster, namespace):
    """Any user may label a pod; the watch and the full lists continue."""
    operator = start_operator()
    labels = {"agentpool.dev/pool": "Not_a.Name-"[:-1]}
    container = {"name": "c", "image": "i"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "odd", "labels": labels},
        "spec": {"containers": [container]},
    }
    await cluster.create(paths.pods(namespace), pod)
    await pool_of()
    await all_is_well(look, operator)


@pytest.mark.timeout(240)
async def test_an_object_too_deep_for_a_decoder_does_not_stop_the_watches(
    start_operator, pool_of, look, faulty_api, namespace
):
    """An API server accepts 10,000 levels.

    Lists and watches with such a pool continue, and the pool reports the depth.
    """
    levels = 9_000
    deep = b'{"a":' * levels + b"{}" + b"}" * levels
    faulty_api.rewrite = lambda body: body.replace(b'"nested without end"', deep)
    operator = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of("deep", worker={"template": {"metadata": {"annotations": {"a": "nested without end"}}}})

    async def refused() -> bool:
        return await look.condition("Ready", "deep") == ("False", "InvalidSpec")

    await wait_until(refused, f"the template is refused\n{operator.written()[-2000:]}", within_s=WITHIN_SECONDS)
    await pool_of()
    await all_is_well(look, operator)


@pytest.mark.timeout(240)
async def test_a_pod_of_any_length_does_not_stop_the_watches(
    start_operator, pool_of, look, cluster, faulty_api, namespace
):
    """An API server escapes text, so a served pod may be several times longer than the pod that was sent."""
    faulty_api.rewrite = lambda body: body.replace(b'"long"', b'"%s"' % (b"x" * 5 * 2**20))
    operator = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await cluster.create(paths.nodes(), {"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}})
    ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]
    capacity = {"cpu": "8", "memory": "8Gi", "pods": "110", f"{namespace}.dev/gpu": "3"}
    status = {"status": {"allocatable": capacity, "capacity": capacity, "conditions": ready}}
    await cluster.merge(f"{paths.nodes(namespace)}/status", status, manager="kubelet")
    await pool_of(gpu={"resourceName": f"{namespace}.dev/gpu"})

    async def room() -> int | None:
        return ((await look.status()).get("gpus") or {}).get("placeable")

    async def has(workers: int) -> bool:
        return await room() == workers

    await wait_until(lambda: has(3), f"the node has room\n{operator.written()[-3000:]}", within_s=WITHIN_SECONDS)
    limits = {"limits": {f"{namespace}.dev/gpu": "1"}}
    container = {"name": "c", "image": "i", "env": [{"name": "E", "value": "long"}], "resources": limits}
    spec = {"nodeName": namespace, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "long"}, "spec": spec}
    await cluster.create(paths.pods(namespace), pod)
    await wait_until(lambda: has(2), f"the pod is seen\n{operator.written()[-3000:]}", within_s=WITHIN_SECONDS)
    await all_is_well(look, operator)
    await cluster.delete(paths.nodes(namespace))


@pytest.mark.parametrize("namespace", ["../x", "", "a/b", ".."])
async def test_a_namespace_with_a_path_is_refused_at_the_start(namespace):
    """The names in flags become parts of paths, too."""
    with pytest.raises(SettingError, match=r"^namespace: "):
        await run(OperatorSettings(namespaces=(namespace,)))
