"""A whole devcluster, and a client of that devcluster."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agentpool_devcluster.cluster import Cluster, ClusterSettings
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.errors import NotFoundError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.objects import condition_holds, name_of
from agentpool_devcluster.kube.resources import DEPLOYMENTS, EVENTS, NODES, PODS, REPLICA_SETS
from tests.fixtures.redis import wait_until

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = "default"


def is_alive(pid):
    """Return whether the process runs; an ended process that was not collected does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


@dataclass
class Kube:
    """Requests of tests to the cluster."""

    client: KubeClient
    kubeconfig: Path

    async def apply(self, resource, body):
        return await self.client.create(resource, NAMESPACE if resource.namespaced else None, body)

    async def run(self, name, *command, **spec):
        """Create a pod of one container."""
        container = {"name": "main", "image": "none", "command": list(command), **spec.pop("container", {})}
        metadata = {"name": name, "labels": spec.pop("labels", {})}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
        return await self.apply(PODS, body)

    async def pods(self, labels=""):
        return (await self.client.list(PODS, NAMESPACE, labels=labels))["items"]

    async def pod(self, name):
        try:
            return await self.client.get(PODS, NAMESPACE, name)
        except NotFoundError:
            return None

    async def deployment(self, name):
        return await self.client.get(DEPLOYMENTS, NAMESPACE, name)

    async def replica_sets(self):
        return (await self.client.list(REPLICA_SETS, NAMESPACE))["items"]

    async def events(self, name):
        listed = await self.client.list(EVENTS, NAMESPACE, fields=f"involvedObject.name={name}")
        return [(event["reason"], event["message"]) for event in listed["items"]]

    async def log(self, name, **query):
        """Read a pod's log through the API server, as kubectl does."""
        session, server = self.client._session, self.client.server
        async with session.get(f"{server}{PODS.path(NAMESPACE, name, 'log')}", params=query) as response:
            text = await response.text()
            return text if response.ok else f"{response.status} {text}"

    async def until_phase(self, name, phase):
        async def reached():
            pod = await self.pod(name)
            return pod if pod and (pod.get("status") or {}).get("phase") == phase else None

        try:
            return await wait_until(reached, f"pod {name} is {phase}")
        except AssertionError as error:
            status = (await self.pod(name) or {}).get("status")
            raise AssertionError(f"{error}; it is {status}; it wrote: {await self.log(name)}") from None

    async def until_ready(self, name):
        async def ready():
            pod = await self.pod(name)
            return pod if pod and condition_holds(pod, "Ready") else None

        return await wait_until(ready, f"pod {name} is ready")

    async def until_gone(self, name):
        async def gone():
            return await self.pod(name) is None

        await wait_until(gone, f"pod {name} is gone")

    async def until_event(self, name, reason):
        async def found():
            return next((message for kind, message in await self.events(name) if kind == reason), None)

        return await wait_until(found, f"event {reason} of {name}")

    async def until_node_ready(self, name):
        async def ready():
            nodes = (await self.client.list(NODES))["items"]
            return any(name_of(node) == name and condition_holds(node, "Ready") for node in nodes)

        await wait_until(ready, f"node {name} is ready")


@pytest.fixture
def node_specs():
    """The nodes of the cluster; a test module may define different nodes."""
    return ("n1,cpu=4,memory=4Gi,nvidia.com/gpu=2",)


@pytest.fixture
async def cluster(tmp_path, node_specs):
    image = tmp_path / "image"
    image.mkdir()
    settings = ClusterSettings(kubeconfig=tmp_path / "kubeconfig", nodes=node_specs, images={"app": image})
    async with Cluster(settings) as running:
        yield running


@pytest.fixture
async def kube(cluster):
    async with KubeClient(read_kubeconfig(cluster.kubeconfig), user_agent="test") as client:
        yield Kube(client, cluster.kubeconfig)
