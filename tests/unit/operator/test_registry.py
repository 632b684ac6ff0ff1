"""The registry: combining full lists and watches, in any order of arrival."""

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


async def test_an_object_that_a_full_list_lacks_is_gone(pools):
    """An interrupted watch reports no deletion."""
    resync(pools, "11")
    assert (await pools.next_deleted()).ref == REF
    assert len(pools) == 0
    pools.see_pool(resource("12"))
    assert (pools.get(REF).deployment, pools.get(REF).pods) == (None, {})


def test_an_object_newer_than_the_list_stays(pools):
    """The list could not contain the object."""
    resync(pools, "9")
    pool = pools.get(REF)
    assert pool is not None
    assert pool.deployment is not None
    assert set(pool.pods) == {"p-1"}


def test_an_old_list_replaces_no_newer_spec(pools):
    """The watch may report a change before the list contains the change."""
    pools.see_pool(resource("20", paused=True))
    resync(pools, "15", resources=[resource("10")], deployments=[child("10")], pods=[pod("10")])
    assert pools.get(REF).resource["metadata"]["resourceVersion"] == "20"


def test_a_late_read_replaces_no_newer_size(pools):
    """A pass holds the Deployment of its begin, while the scaling loop changes the size."""
    pool = pools.get(REF)
    begun_with = pool.deployment.raw
    pools.set_deployment(pool, pool.deployment.resized(2, "12"))
    pools.set_deployment(pool, deployment_view(begun_with))
    assert (pool.deployment.replicas, pool.deployment.raw["spec"]["replicas"]) == (2, 2)
    assert (pool.deployment.generation, pool.deployment.resource_version) == (2, "12")


def test_a_watch_event_before_the_answer_to_a_write_is_kept(pools):
    """The event of a write may arrive before the answer; the event has the whole object."""
    pool = pools.get(REF)
    answer = pool.deployment.resized(2, "12")
    pools.see_deployment(child("12", replicas=2))
    reported = pool.deployment
    pools.set_deployment(pool, answer)
    assert pool.deployment is reported


def test_a_pool_without_devices_has_no_limit_of_devices():
    """The limit ends with `gpu`; an old limit would cap the pool for ever."""
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


def test_a_pool_with_a_field_of_a_newer_definition_is_served(caplog):
    """The CRD is upgraded before the operator, and stays after a rollback: its defaults are in every pool."""
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
    (reported,) = caplog.messages
    assert reported.startswith("pool ns/p: ")
    assert " ignores spec.queue.later, spec.routes.later; upgrade the operator" in reported
    pools.see_pool({"metadata": metadata, "spec": {**spec, "replicas": 1}})
    assert len(caplog.messages) == 1
    pools.see_pool({"metadata": metadata, "spec": {**spec, "scaling": {"maxReplicas": "many", "later": 1}}})
    assert "spec.scaling.maxReplicas" in pools.get(PoolRef("ns", "p")).declared.problem.message


def test_the_delay_reason_of_a_pod_lasts_until_the_pod_changes():
    """Repeated lists keep the reason; only a later version of the pod replaces the reason."""
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
def test_a_name_older_than_the_rule_of_the_schema_is_reported(name):
    """The name would be a label's value and a Deployment's name: the pool has a condition and is not served."""
    pools = Pools()
    metadata = {"name": name, "namespace": "ns", "uid": "u"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    pool = pools.get(PoolRef("ns", name))
    assert pool.spec is None
    assert pool.declared.problem.reason == "InvalidSpec"
    assert "metadata.name" in pool.declared.problem.message
