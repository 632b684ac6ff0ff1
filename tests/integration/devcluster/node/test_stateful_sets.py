"""StatefulSets and disruption budgets on a whole cluster."""

from __future__ import annotations

import pytest

from agentpool_devcluster.kube.errors import ApiError
from agentpool_devcluster.kube.objects import name_of
from agentpool_devcluster.kube.resources import DISRUPTION_BUDGETS, PODS, STATEFUL_SETS
from tests.fixtures.redis import wait_until

from .conftest import NAMESPACE

LABELS = {"app": "db"}


def stateful_set(replicas, word="one", **spec):
    env = [{"name": "WORD", "value": word}]
    container = {"name": "main", "image": "none", "command": ["sleep", "600"], "env": env}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    body = {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {**body, **spec}}


async def until_words(kube, *words):
    async def settled():
        found = await kube.client.get(STATEFUL_SETS, NAMESPACE, "db")
        pods = sorted(await kube.pods("app=db"), key=name_of)
        now = [pod["spec"]["containers"][0]["env"][0]["value"] for pod in pods]
        ready = (found.get("status") or {}).get("readyReplicas")
        return pods if now == list(words) and ready == len(words) else None

    return await wait_until(settled, f"pods {words} are ready")


async def test_numbered_pods_come_in_order_and_are_updated_from_the_top(kube):
    """Pods have fixed names and start one after another; a new template replaces them.

    Scaling down removes the highest.
    """
    await kube.apply(STATEFUL_SETS, stateful_set(2))
    pods = await until_words(kube, "one", "one")
    assert [name_of(pod) for pod in pods] == ["db-0", "db-1"]
    assert pods[0]["metadata"]["creationTimestamp"] <= pods[1]["metadata"]["creationTimestamp"]
    template = stateful_set(2, word="two")["spec"]["template"]
    await kube.client.patch(STATEFUL_SETS, NAMESPACE, "db", {"spec": {"template": template}})
    await until_words(kube, "two", "two")
    await kube.client.patch(STATEFUL_SETS, NAMESPACE, "db", {"spec": {"replicas": 1}})
    pods = await until_words(kube, "two")
    assert [name_of(pod) for pod in pods] == ["db-0"]


async def test_persistent_volumes_are_refused_by_name(kube):
    """No pod is created, and the event names the unsupported field."""
    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    await kube.apply(STATEFUL_SETS, stateful_set(1, volumeClaimTemplates=claims))
    assert "spec.volumeClaimTemplates" in await kube.until_event("db", "FailedCreate")
    assert not await kube.pods("app=db")


async def test_a_budget_refuses_a_surplus_eviction(kube):
    """The eviction beyond the budget is refused; within the budget, the eviction deletes the pod."""
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "db"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": LABELS}},
    }
    await kube.apply(DISRUPTION_BUDGETS, budget)
    await kube.apply(STATEFUL_SETS, stateful_set(1))
    await until_words(kube, "one")

    async def counted():
        found = await kube.client.get(DISRUPTION_BUDGETS, NAMESPACE, "db")
        return (found.get("status") or {}).get("currentHealthy") == 1

    await wait_until(counted, "the budget counts the pod")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "db-0", "namespace": NAMESPACE}}
    with pytest.raises(ApiError, match="disruption budget") as caught:
        await kube.client.create(PODS, NAMESPACE, eviction, name="db-0", subresource="eviction")
    assert caught.value.code == 429
    await kube.client.patch(DISRUPTION_BUDGETS, NAMESPACE, "db", {"spec": {"maxUnavailable": 1}})

    async def evicted():
        try:
            await kube.client.create(PODS, NAMESPACE, eviction, name="db-0", subresource="eviction")
        except ApiError:
            return False
        return True

    await wait_until(evicted, "the budget allows the eviction")
