"""The registry: what full lists and watches tell together, in whatever order they arrive."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.registry import Listing, Pools
from agentpool_operator.pools.views import deployment_view

REF = PoolRef("ns", "p")


def resource(version: str, name: str = "p", **spec):
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": version},
        "spec": {"handler": {"command": {"argv": ["true"]}}, **spec},
    }


def child(version: str, replicas: int = 0):
    metadata = {"name": "p", "namespace": "ns", "uid": "d", "generation": 1, "resourceVersion": version}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


def pod(version: str):
    labels = {"agentpool.dev/pool": "p"}
    return {"metadata": {"name": "p-1", "namespace": "ns", "uid": "1", "resourceVersion": version, "labels": labels}}


def resync(pools: Pools, version: str, *, resources=(), deployments=(), pods=()):
    pools.see_all(
        None,
        resources=Listing(items=list(resources), version=version),
        deployments=Listing(items=list(deployments), version=version),
        pods=Listing(items=list(pods), version=version),
    )


@pytest.fixture
def pools() -> Pools:
    """A pool with its Deployment and a pod, all of resourceVersion 10."""
    made = Pools()
    made.see_pool(resource("10"))
    made.see_deployment(child("10"))
    made.see_pod(pod("10"))
    return made


async def test_what_a_full_list_lacks_is_gone(pools):
    """A watch that was away while objects were deleted never told of it."""
    resync(pools, "11")
    assert (await pools.next_deleted()).ref == REF
    assert len(pools) == 0
    pools.see_pool(resource("12"))
    assert (pools.get(REF).deployment, pools.get(REF).pods) == (None, {})


def test_what_was_made_while_the_list_was_on_its_way_stays(pools):
    """An object that is later than the list could not be in it."""
    resync(pools, "9")
    pool = pools.get(REF)
    assert pool is not None
    assert pool.deployment is not None
    assert set(pool.pods) == {"p-1"}


def test_an_old_list_takes_no_newer_spec_back(pools):
    """The watch may have told of a change that the list does not have yet."""
    pools.see_pool(resource("20", paused=True))
    resync(pools, "15", resources=[resource("10")], deployments=[child("10")], pods=[pod("10")])
    assert pools.get(REF).resource["metadata"]["resourceVersion"] == "20"


def test_a_read_that_comes_late_takes_no_newer_size_back(pools):
    """A pass works on the Deployment that it began with, while the scaling loop changes its size."""
    pool = pools.get(REF)
    begun_with = pool.deployment.raw
    pools.set_deployment(pool, pool.deployment.resized(2, "12"))
    pools.set_deployment(pool, deployment_view(begun_with))
    assert (pool.deployment.replicas, pool.deployment.raw["spec"]["replicas"]) == (2, 2)
    assert (pool.deployment.generation, pool.deployment.resource_version) == (2, "12")


def test_a_watch_that_was_faster_than_the_answer_to_our_write_is_kept(pools):
    """The event of our own write may arrive before its answer; the event has the whole object."""
    pool = pools.get(REF)
    answer = pool.deployment.resized(2, "12")
    pools.see_deployment(child("12", replicas=2))
    told = pool.deployment
    pools.set_deployment(pool, answer)
    assert pool.deployment is told


def test_a_pool_that_asks_for_devices_no_more_is_limited_by_none():
    """What the nodes had room for goes with `gpu`: it would cap the pool for ever."""
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    spec = {"handler": {"command": {"argv": ["true"]}}}
    pools.see_pool({"metadata": metadata, "spec": {**spec, "gpu": {}}})
    pool = pools.get(PoolRef("ns", "p"))
    pool.room = Room(placeable=2)
    pools.see_pool({"metadata": metadata, "spec": {**spec, "gpu": {"priority": 1}}})
    assert pool.placeable == 2
    pools.see_pool({"metadata": metadata, "spec": spec})
    assert pool.placeable is None


def test_a_field_that_only_a_newer_definition_has_leaves_the_pool_served(caplog):
    """The CRD is upgraded before the operator, and stays when it is rolled back: its defaults come with every pool."""
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    routes = [{"name": name, "kinds": [name], "later": {"a": 1}} for name in "kl"]
    spec = {"handler": {"command": {"argv": ["true"]}}, "routes": routes, "queue": {"maxDepth": 7, "later": "Accept"}}
    pools.see_pool({"metadata": metadata, "spec": spec})
    pool = pools.get(PoolRef("ns", "p"))
    assert pool.declared.problem is None
    assert pool.spec.queue.max_depth == 7
    assert pool.spec.routes[0].kinds == ["k"]
    assert pool.resource["spec"] == spec
    (told,) = caplog.messages
    assert told.startswith("pool ns/p: ")
    assert " ignores spec.queue.later, spec.routes.later; upgrade the operator" in told
    pools.see_pool({"metadata": metadata, "spec": {**spec, "replicas": 1}})
    assert len(caplog.messages) == 1
    pools.see_pool({"metadata": metadata, "spec": {**spec, "scaling": {"maxReplicas": "many", "later": 1}}})
    assert "spec.scaling.maxReplicas" in pools.get(PoolRef("ns", "p")).declared.problem.message


def test_what_a_node_told_of_a_pod_lasts_until_the_pod_changes():
    """Lists come again and again; only a later version of the pod knows better than its events."""
    pools, ref = Pools(), PoolRef("ns", "p")
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    labels = {"agentpool.dev/pool": "p"}

    def pod(version):
        named = {"name": "w", "namespace": "ns", "uid": "w", "labels": labels, "resourceVersion": version}
        return {"metadata": named, "spec": {"nodeName": "n"}, "status": {"phase": "Pending"}}

    pools.see_pod(pod("5"))
    known = pools.get(ref).pods["w"]
    assert known.setting_up
    pools.see_delay(ref, known, "FailedMount", "no Secret")
    pools.see_pod(pod("5"))
    assert pools.get(ref).pods["w"].trouble == "FailedMount"
    pools.see_pod(pod("6"))
    assert pools.get(ref).pods["w"].trouble == ""
    pools.see_delay(ref, known, "FailedMount", "no Secret")
    assert pools.get(ref).pods["w"].trouble == ""


@pytest.mark.parametrize("name", ["a.b", "a" * 64])
def test_a_name_that_is_older_than_the_schema_s_rule_is_told(name):
    """The name would be a label's value and a Deployment's name: the pool says what is wrong and is not served."""
    pools = Pools()
    metadata = {"name": name, "namespace": "ns", "uid": "u"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    pool = pools.get(PoolRef("ns", name))
    assert pool.spec is None
    assert pool.declared.problem.reason == "InvalidSpec"
    assert "metadata.name" in pool.declared.problem.message
