"""Nodes that become silent, disappear or return, and the effect on their pods."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agentpool_devcluster.cluster import Cluster, ClusterSettings
from agentpool_devcluster.controllers.node_health import Patience
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.objects import condition_of, name_of, uid_of
from agentpool_devcluster.kube.resources import DEPLOYMENTS, NODES, PODS
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.agent import NodeAgent
from agentpool_devcluster.node.specification import parse_node
from tests.fixtures.redis import wait_until

from .conftest import NAMESPACE


@pytest.fixture
async def cluster(tmp_path):
    """Controllers with short timeouts, and no node yet."""
    patience = Patience(grace_seconds=1.5, eviction_seconds=0.5)
    settings = ClusterSettings(kubeconfig=tmp_path / "kubeconfig", nodes=(), patience=patience)
    async with Cluster(settings) as running:
        yield running


@pytest.fixture
def node(cluster, tmp_path):
    """Start a node of that name, for as long as the context lasts."""

    @asynccontextmanager
    async def started(name):
        settings = replace(parse_node(name, state_dir=tmp_path / "nodes", images={}), heartbeat_seconds=0.2)
        async with KubeClient(read_kubeconfig(cluster.kubeconfig), user_agent="test-node") as client:
            agent = NodeAgent(client, settings)
            await agent.start()
            try:
                yield agent
            finally:
                await agent.stop()

    return started


async def deploy(kube):
    labels = {"app": "web"}
    # The tolerations replace those that admission gives for 300 s.
    tolerations = [
        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for state in ("not-ready", "unreachable")
    ]
    container = {"name": "main", "image": "none", "command": ["sleep", "600"]}
    spec = {"containers": [container], "tolerations": tolerations, "terminationGracePeriodSeconds": 1}
    body = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    await kube.apply(
        DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": body}
    )


async def until_runs_on(kube, node_name):
    async def runs():
        pods = await kube.pods("app=web")
        where = [(pod["spec"].get("nodeName"), (pod.get("status") or {}).get("phase")) for pod in pods]
        return pods[0] if where == [(node_name, "Running")] else None

    return await wait_until(runs, f"one pod, on {node_name}")


async def test_pods_of_a_silent_node_move_to_a_live_node(kube, node):
    """The node becomes Unknown; the pods are evicted, deleted by force, and replaced on a live node."""
    async with node("n1") as silent:
        await deploy(kube)
        await until_runs_on(kube, "n1")
        async with node("n2"):
            await cancel_and_wait(*silent._parts.tasks)  # as a hanging host: processes live, and no heartbeat is sent
            await until_runs_on(kube, "n2")
            lost = await kube.client.get(NODES, None, "n1")
            assert condition_of(lost, "Ready")["status"] == "Unknown"
            taints = {(taint["key"], taint["effect"]) for taint in lost["spec"]["taints"]}
            assert ("node.kubernetes.io/unreachable", "NoExecute") in taints


async def test_a_stopping_node_releases_its_pods(kube, node):
    """The pods end as failed, the node reports not ready, and a second node takes over."""
    async with node("n2") as other:
        await kube.client.patch(NODES, None, "n2", {"spec": {"unschedulable": True}})
        async with node("n1"):
            await deploy(kube)
            first = await until_runs_on(kube, "n1")
            await kube.client.patch(NODES, None, "n2", {"spec": {"unschedulable": None}})
        stopped = await kube.client.get(NODES, None, "n1")
        assert condition_of(stopped, "Ready")["status"] == "False"

        async def replaced():
            pods = await kube.pods("app=web")
            return any(pod["spec"].get("nodeName") == other.name and uid_of(pod) != uid_of(first) for pod in pods)

        await wait_until(replaced, "the pod runs on the other node")


async def test_pods_of_a_deleted_node_are_deleted(kube, node):
    """A pod bound to a deleted node does not stay for ever."""
    async with node("n1") as gone:
        await kube.run("lonely", "sleep", "600")
        await kube.until_ready("lonely")
        await cancel_and_wait(*gone._parts.tasks)
        await kube.client.delete(NODES, None, "n1")
        await kube.until_gone("lonely")


async def test_a_returning_node_restarts_its_pods(kube, node):
    """The processes are lost, the container starts again on the same pod, and the restart is counted."""
    async with node("n1") as first:
        await kube.run("steady", "sleep", "600")
        await kube.until_ready("steady")
        await cancel_and_wait(*first._parts.tasks)
        for task in list(first._pod_tasks.values()):
            await cancel_and_wait(task)  # as killed: the node reports nothing
        async with node("n1"):

            async def restarted():
                pod = await kube.client.get(PODS, NAMESPACE, "steady")
                status = pod["status"]["containerStatuses"][0]
                return pod if status["ready"] and status["restartCount"] == 1 else None

            pod = await wait_until(restarted, "the container runs again")
            last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
            assert last["reason"] == "ContainerStatusUnknown"
            assert name_of(pod) == "steady"
