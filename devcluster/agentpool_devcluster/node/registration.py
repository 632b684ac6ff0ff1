"""The Node and Lease of this node, created at start and kept alive while the agent runs."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.client import KubeClient, Patch
from agentpool_devcluster.kube.errors import AlreadyExistsError, KubeError, NotFoundError
from agentpool_devcluster.kube.objects import condition_holds, now_micro_text, now_text
from agentpool_devcluster.kube.quantity import Amounts, amounts_of
from agentpool_devcluster.kube.resources import LEASES, NAMESPACES, NODES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.node.settings import NodeSettings

_log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
DEFAULT_PODS = "110"
AGENT_VERSION = "v1.36.0-agentpool"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Registration:
    """Keeps a node registered with the API server."""

    def __init__(self, client: KubeClient, settings: NodeSettings, *, port: int, pod_cidr: str | None) -> None:
        self._client = client
        self._settings = settings
        self._port = port
        self._pod_cidr = pod_cidr

    async def register(self) -> None:
        """Create the Node, or update an existing Node of that name. Raises KubeError."""
        manifest = node_manifest(self._settings, self._pod_cidr)
        name = self._settings.name
        try:
            await self._client.create(NODES, None, manifest)
        except AlreadyExistsError:
            patch = {"metadata": {"labels": manifest["metadata"]["labels"]}}
            await self._client.patch(NODES, None, name, patch)
        await self._write_status(node_status(self._settings, self._port))
        await self._renew()

    async def run(self) -> None:
        """Renew until cancelled; a deleted Node is created again."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            try:
                await self._renew()
                node = await self._client.get(NODES, None, self._settings.name)
                if not condition_holds(node, "Ready"):
                    await self._write_status({"conditions": conditions(ready=True)})
            except NotFoundError:
                await self._register_again()
            except KubeError as error:
                _log.warning("node %s: not renewed: %s", self._settings.name, error)

    async def allocatable(self) -> Amounts:
        """Return the resources that the Node offers, which users may have changed. Raises KubeError."""
        node = await self._client.get(NODES, None, self._settings.name)
        return amounts_of((node.get("status") or {}).get("allocatable"))

    async def retire(self) -> None:
        """Say that the node is going. Raises KubeError."""
        status = {"conditions": conditions(ready=False)}
        await self._write_status(status)

    async def _register_again(self) -> None:
        try:
            await self.register()
        except KubeError as error:
            _log.warning("node %s: not registered again: %s", self._settings.name, error)

    async def _write_status(self, status: Mapping[str, Any]) -> None:
        await self._client.patch(
            NODES, None, self._settings.name, {"status": status}, kind=Patch.STRATEGIC, subresource="status"
        )

    async def _renew(self) -> None:
        name = self._settings.name
        try:
            await self._client.patch(LEASES, LEASE_NAMESPACE, name, {"spec": {"renewTime": now_micro_text()}})
        except NotFoundError:
            await self._create_lease()

    async def _create_lease(self) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._settings.name, "namespace": LEASE_NAMESPACE},
            "spec": {
                "holderIdentity": self._settings.name,
                "leaseDurationSeconds": self._settings.lease_seconds,
                "renewTime": now_micro_text(),
            },
        }
        try:
            await self._client.create(LEASES, LEASE_NAMESPACE, lease)
        except NotFoundError:  # no such namespace: a bare API server without controllers
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
            await self._client.create(NAMESPACES, None, namespace)
            await self._client.create(LEASES, LEASE_NAMESPACE, lease)


def node_manifest(settings: NodeSettings, pod_cidr: str | None) -> dict[str, Any]:
    """Return the Node to create."""
    system, machine = platform.system().lower(), platform.machine()
    labels = {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": system,
        "kubernetes.io/arch": _ARCHITECTURES.get(machine, machine),
        **settings.labels,
    }
    taints = [{"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in settings.taints]
    spec: dict[str, Any] = {"taints": taints} if taints else {}
    if pod_cidr is not None:
        spec |= {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": labels},
        "spec": spec,
    }


def node_status(settings: NodeSettings, port: int) -> dict[str, Any]:
    """Return the initial status of a node."""
    offered = {**default_resources(), **settings.resources}
    return {
        "capacity": offered,
        "allocatable": offered,
        "conditions": conditions(ready=True),
        # No Hostname: an API server would resolve that name to fetch logs, and no DNS has the name.
        "addresses": [{"type": "InternalIP", "address": settings.address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": _node_info(),
    }


def default_resources() -> dict[str, str]:
    """Return this host's resources, the default for the settings."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 8 * 2**30
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": DEFAULT_PODS}


def conditions(*, ready: bool) -> list[dict[str, Any]]:
    """Return the node's conditions."""
    now = now_text()
    fine = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
    state = ("True", "KubeletReady", "kubelet is posting ready status")
    if not ready:
        state = ("False", "KubeletNotReady", "the node is shutting down")
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for kind, status, reason, message in [*((k, "False", r, m) for k, r, m in fine), ("Ready", *state)]
    ]


def _node_info() -> dict[str, str]:
    system, machine = platform.system().lower(), platform.machine()
    return {
        "machineID": platform.node(),
        "systemUUID": platform.node(),
        "bootID": platform.node(),
        "kernelVersion": platform.release(),
        "osImage": platform.platform(terse=True),
        "containerRuntimeVersion": "process://1.0.0",
        "kubeletVersion": AGENT_VERSION,
        "kubeProxyVersion": AGENT_VERSION,
        "operatingSystem": system,
        "architecture": _ARCHITECTURES.get(machine, machine),
    }
