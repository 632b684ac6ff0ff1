"""Deployments on a whole cluster: rollouts, scaling, deletion order, lost nodes."""

from __future__ import annotations

import pytest

from agentpool_devcluster.controllers.deletion_order import DELETION_COST
from agentpool_devcluster.kube.objects import condition_of, is_terminating, name_of, uid_of
from agentpool_devcluster.kube.resources import DEPLOYMENTS, NODES, PODS
from tests.fixtures.redis import wait_until

from .conftest import NAMESPACE


@pytest.fixture
def node_specs():
    return ("n1,cpu=8,memory=8Gi", "n2,cpu=8,memory=8Gi")


def deployment(name="web", *, replicas=3, word="one", **spec):
    labels = {"app": name}
    container = {"name": "main", "image": "none", "command": ["sleep", "600"], "env": [{"name": "W", "value": word}]}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


async def until_rolled_out(kube, name="web"):
    """Wait for a rollout with the rules of `kubectl rollout status`."""

    async def rolled_out():
        found = await kube.deployment(name)
        status, wanted = found.get("status") or {}, found["spec"]["replicas"]
        counts = [status.get(field) or 0 for field in ("updatedReplicas", "replicas", "availableReplicas")]
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        return found if seen and counts == [wanted] * 3 else None

    return await wait_until(rolled_out, f"deployment {name} is rolled out")


async def set_word(kube, word, name="web"):
    patch = {"spec": {"template": deployment(name, word=word)["spec"]["template"]}}
    await kube.client.patch(DEPLOYMENTS, NAMESPACE, name, patch)


async def scale(kube, replicas, name="web"):
    await kube.client.patch(DEPLOYMENTS, NAMESPACE, name, {"spec": {"replicas": replicas}}, subresource="scale")


async def test_a_deployment_is_spread_over_the_nodes(kube):
    """All replicas become available, on both nodes, and conditions and events say so."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=4))
    found = await until_rolled_out(kube)
    assert condition_of(found, "Available")["status"] == "True"
    pods = await kube.pods("app=web")
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["n1", "n1", "n2", "n2"]
    (replica_set,) = await kube.replica_sets()
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    message = await kube.until_event("web", "ScalingReplicaSet")
    assert message == f"Scaled up replica set {name_of(replica_set)} from 0 to 4"
    assert (await kube.until_event(name_of(replica_set), "SuccessfulCreate")).startswith("Created pod: web-")

    async def complete():
        return (condition_of(await kube.deployment("web"), "Progressing") or {})["reason"] == "NewReplicaSetAvailable"

    await wait_until(complete, "the Progressing condition says it is complete")


async def test_a_rolling_update_never_has_too_many_or_too_few(kube):
    """The number of pods stays within surge and availability at every moment, and the old revision stays as history."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await kube.apply(DEPLOYMENTS, deployment(strategy=strategy))
    await until_rolled_out(kube)
    await set_word(kube, "two")

    async def done():
        pods = [pod for pod in await kube.pods("app=web") if not is_terminating(pod)]
        assert len(pods) <= 4
        found = await kube.deployment("web")
        assert (found["status"].get("availableReplicas") or 0) >= 3
        return found["status"].get("updatedReplicas") == len(pods) == 3 and all(
            pod["spec"]["containers"][0]["env"][0]["value"] == "two" for pod in pods
        )

    await wait_until(done, "all pods are of the new revision")
    sizes = {
        one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: one["spec"]["replicas"]
        for one in await kube.replica_sets()
    }
    assert sizes == {"1": 0, "2": 3}


async def test_a_rollback_reuses_the_old_replica_set(kube):
    """The template of an earlier revision finds the old ReplicaSet, under the next number."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=1))
    await until_rolled_out(kube)
    for word in ("two", "one"):
        await set_word(kube, word)
        await until_rolled_out(kube)
    sets = await kube.replica_sets()
    numbers = sorted(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in sets)
    assert numbers == ["2", "3"]


async def test_recreate_has_no_two_revisions_at_once(kube):
    """Old pods are deleted before new pods start."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=2, strategy={"type": "Recreate"}))
    await until_rolled_out(kube)
    await set_word(kube, "two")

    async def done():
        words = [pod["spec"]["containers"][0]["env"][0]["value"] for pod in await kube.pods("app=web")]
        assert set(words) in ({"one"}, {"two"}, set())
        return words == ["two", "two"]

    await wait_until(done, "both pods are new")
    await until_rolled_out(kube)


async def test_scaling_down_takes_the_cheapest_pod(kube):
    """The pod with the lowest deletion cost is deleted; scaling to zero deletes all."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=3))
    await until_rolled_out(kube)
    pods = await kube.pods("app=web")
    for pod, cost in zip(pods, (10, -5, 10), strict=True):
        patch = {"metadata": {"annotations": {DELETION_COST: str(cost)}}}
        await kube.client.patch(PODS, NAMESPACE, name_of(pod), patch)
    await scale(kube, 2)
    await kube.until_gone(name_of(pods[1]))
    assert {name_of(pod) for pod in await kube.pods("app=web")} == {name_of(pods[0]), name_of(pods[2])}
    await scale(kube, 0)

    async def empty():
        return not await kube.pods("app=web")

    await wait_until(empty, "no pod is left")


async def test_never_too_many_pods_under_a_storm_of_changes(kube):
    """Scaling up and down without waiting never creates a pod too many, and ends at the last request."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=1))
    for replicas in (5, 2, 6, 0, 4):
        await scale(kube, replicas)
        live = [pod for pod in await kube.pods("app=web") if not is_terminating(pod)]
        assert len(live) <= 6
    await until_rolled_out(kube)

    async def settled():
        return len(await kube.pods("app=web")) == 4

    await wait_until(settled, "exactly four pods are left")


async def test_a_lost_pod_is_replaced(kube):
    """A pod deleted by hand is replaced."""
    await kube.apply(DEPLOYMENTS, deployment(replicas=1))
    await until_rolled_out(kube)
    (first,) = await kube.pods("app=web")
    await kube.client.delete(PODS, NAMESPACE, name_of(first))

    async def replaced():
        pods = await kube.pods("app=web")
        return len(pods) == 1 and uid_of(pods[0]) != uid_of(first)

    await wait_until(replaced, "another pod took its place")


async def test_a_cordoned_node_takes_no_new_pods(kube):
    """New pods start on the second node; the taint shows the cordon."""
    await kube.client.patch(NODES, None, "n1", {"spec": {"unschedulable": True}})
    await kube.apply(DEPLOYMENTS, deployment(replicas=2))
    await until_rolled_out(kube)
    assert {pod["spec"]["nodeName"] for pod in await kube.pods("app=web")} == {"n2"}


async def test_deleting_a_deployment_deletes_all_dependents(kube):
    """ReplicaSets and pods are deleted after their owner."""
    await kube.apply(DEPLOYMENTS, deployment())
    await until_rolled_out(kube)
    await kube.client.delete(DEPLOYMENTS, NAMESPACE, "web")

    async def empty():
        return not await kube.pods("app=web") and not await kube.replica_sets()

    await wait_until(empty, "nothing of the deployment is left")
