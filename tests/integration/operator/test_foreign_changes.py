"""Foreign changes to a pool's Deployment, with the real operator: corrected, reported, adopted or left alone."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.kube import paths
from agentpool_operator.settings import WORKER_IMAGE

from .conftest import WITHIN_SECONDS

WITHOUT_LABEL = {"metadata": {"labels": {"agentpool.dev/pool": None}}}


@pytest.fixture
def deployment(namespace):
    """Return the path of the workers' Deployment."""
    return paths.deployments(namespace, "agents")


async def label_of(cluster, deployment):
    """Return the label by which the operator watches."""
    return (await cluster.get(deployment))["metadata"]["labels"].get("agentpool.dev/pool")


async def test_drift_is_repaired(start_operator, pool_of, look, until, cluster, deployment, ref):
    """A changed image is corrected."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
    live = await cluster.get(deployment)
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    await cluster.replace(deployment, live)

    async def image():
        return (await cluster.get(deployment))["spec"]["template"]["spec"]["containers"][0]["image"]

    await until(image, WORKER_IMAGE)


async def test_a_deployment_is_not_recreated_before_the_pools_deletion_is_seen(
    start_operator, faulty_api, pool_of, look, until, cluster, namespace, deployment, ref
):
    """The watch of AgentPools may lag behind the watch of Deployments, which shows the garbage collector's work."""
    start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    for name in ("agents", "other"):
        await pool_of(name)
        await until(lambda name=name: look.condition("Ready", name), ("True", "Serving"))
    faulty_api.lags = lambda path: path.endswith("/agentpools")
    faulty_api.writes.clear()
    await cluster.delete(paths.agentpools(namespace, "agents"))
    await until(lambda: look.found(deployment), None)
    other = paths.deployments(namespace, "other")
    await cluster.merge(other, {"spec": {"paused": True}}, manager="kubectl-set")
    await until(lambda: look.condition("Progressing", "other"), ("False", "RolloutPaused"))
    faulty_api.catch_up.set()
    assert ("PATCH", deployment) not in faulty_api.writes


async def test_foreign_fields_of_the_deployment_are_reported_with_their_manager(
    start_operator, pool_of, look, until, cluster, deployment, ref
):
    """An apply removes only the operator's own fields: a variable set by `kubectl set env` stays, and is reported."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Progressing"), ("False", "Settled"))
    variables = (await cluster.get(deployment))["spec"]["template"]["spec"]["containers"][0]["env"]

    async def set_variables(*more):
        change = {"name": "worker", "image": WORKER_IMAGE, "env": [*variables, *more]}
        patch = {"spec": {"template": {"spec": {"containers": [change]}}}}
        await cluster.merge(deployment, patch, manager="kubectl-set")

    await set_variables({"name": "EXTRA", "value": "1"})
    await until(lambda: look.condition("Progressing"), ("False", "ChangedByOthers"))
    (progressing,) = [c for c in (await look.status())["conditions"] if c["type"] == "Progressing"]
    assert "template.spec.containers[worker].env[EXTRA] (kubectl-set)" in progressing["message"]
    await set_variables()
    await until(lambda: look.condition("Progressing"), ("False", "Settled"))


async def test_a_changed_variable_of_the_operator_is_corrected(
    start_operator, pool_of, look, until, cluster, deployment, ref
):
    """`kubectl set env` cannot change the pool of a worker."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("True", "Serving"))

    async def pool_named():
        variables = (await cluster.get(deployment))["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(v["value"] for v in variables if v["name"] == "AGENTPOOL_POOL")

    live = await cluster.get(deployment)
    next(v for v in live["spec"]["template"]["spec"]["containers"][0]["env"] if v["name"] == "AGENTPOOL_POOL")[
        "value"
    ] = "another"
    await cluster.replace(deployment, live)
    await until(pool_named, "agents")


async def test_a_paused_rollout_is_reported(start_operator, pool_of, look, until, cluster, deployment, ref):
    """Only the pausing user may resume the rollout; scaling continues meanwhile."""
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Progressing"), ("False", "Settled"))
    await cluster.merge(deployment, {"spec": {"paused": True}}, manager="kubectl-rollout")
    await until(lambda: look.condition("Progressing"), ("False", "RolloutPaused"))
    await pool_of(replicas=2)
    await until(look.replicas, 2)
    await cluster.merge(deployment, {"spec": {"paused": None}}, manager="kubectl-rollout")
    await until(lambda: look.condition("Progressing"), ("True", "Starting"))


async def test_the_label_by_which_a_deployment_is_watched_is_restored(
    start_operator, pool_of, look, until, cluster, deployment, ref
):
    """Without the label the Deployment is in no watch; the operator restores the label, and follows demand."""
    start_operator()
    await pool_of(replicas=1)
    await until(look.replicas, 1)
    await cluster.merge(deployment, WITHOUT_LABEL, manager="user")
    await until(lambda: label_of(cluster, deployment), "agents")
    await pool_of(replicas=2)
    await until(look.replicas, 2)


async def test_the_label_is_restored_though_the_deployment_changes_meanwhile(
    start_operator, faulty_api, pool_of, look, until, cluster, deployment, ref
):
    """Between the operator's read and write the Deployment's controller writes the status, as on a cluster."""
    start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of(replicas=1)
    await until(look.replicas, 1)
    await until(lambda: look.condition("Ready"), ("True", "Starting"))
    faulty_api.freeze_at = lambda method, path: method == "PATCH" and "deployments/agents?" in path
    await cluster.merge(deployment, WITHOUT_LABEL, manager="user")
    await asyncio.wait_for(faulty_api.frozen.wait(), WITHIN_SECONDS)
    await cluster.merge(deployment, {"metadata": {"annotations": {"at": "once"}}}, manager="user")
    faulty_api.thaw.set()
    await until(lambda: label_of(cluster, deployment), "agents")


async def test_an_orphaned_deployment_is_adopted_again(start_operator, pool_of, look, until, cluster, deployment, ref):
    """After `kubectl delete --cascade=orphan` the Deployment belongs to the pool again, with the same size."""
    start_operator()
    await pool_of(replicas=2)
    await until(look.replicas, 2)
    await cluster.merge(deployment, {"metadata": {"ownerReferences": None}}, manager="user")

    async def owner():
        owners = (await cluster.get(deployment))["metadata"].get("ownerReferences") or []
        return [o["kind"] for o in owners]

    await until(owner, ["AgentPool"])
    await until(lambda: look.condition("Ready"), ("True", "Starting"))
    assert await look.replicas() == 2


async def test_a_foreign_deployment_is_refused(start_operator, pool_of, look, until, cluster, namespace, ref):
    """An existing Deployment is not adopted; after its deletion the pool is served."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "agents"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    await cluster.create(paths.deployments(namespace), body)
    start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), ("False", "DeploymentNotOwned"))
    await cluster.delete(paths.deployments(namespace, "agents"))
    await until(lambda: look.condition("Ready"), ("True", "Serving"))
