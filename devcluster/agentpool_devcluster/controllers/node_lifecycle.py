"""Mark and taint lost nodes, evict their pods, and remove pods that no node reports on.

A node lives while its lease is renewed. Time is measured here, from the observation of a renewal, so clocks need not
agree. Unlike in a large cluster, pods of a lost node are removed by force after their grace period: a silent node of
this kind has lost its processes too, and replicas must not wait for a person.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentpool_devcluster.controllers.node_health import Patience, evict_in, is_lost, wanted_taints
from agentpool_devcluster.controllers.pod_state import is_finished, is_ready, node_of
from agentpool_devcluster.kube.client import KubeClient, Patch
from agentpool_devcluster.kube.errors import KubeError, NotFoundError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    age_seconds,
    condition_of,
    is_terminating,
    name_of,
    namespace_of,
    now_text,
    uid_of,
)
from agentpool_devcluster.kube.resources import NODES, PODS

if TYPE_CHECKING:
    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.kube.informer import Informer

_log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
TICK_SECONDS = 1.0
ORPHAN_SECONDS = 5.0  # absence of a pod's node before the pod is removed


class NodeLifecycle:
    """Checks all nodes and their pods, one pass per tick."""

    def __init__(
        self,
        client: KubeClient,
        events: EventRecorder,
        *,
        nodes: Informer,
        leases: Informer,
        pods: Informer,
        patience: Patience | None = None,
    ) -> None:
        self._client = client
        self._events = events
        self._nodes = nodes
        self._leases = leases
        self._pods = pods
        self._patience = patience or Patience()
        self._heard: dict[str, tuple[str, float]] = {}  # by node: last renewal, and time of its observation (loop time)
        self._orphaned: dict[ObjectKey, float] = {}  # pods of missing nodes: since (loop time)

    async def run(self) -> None:
        """Check nodes until cancelled."""
        for informer in (self._nodes, self._leases, self._pods):
            await informer.synced()
        while True:
            try:
                await self.run_once()
            except KubeError as error:
                _log.debug("node lifecycle: %s", error)
            await asyncio.sleep(TICK_SECONDS)

    async def run_once(self) -> None:
        """Run one pass."""
        now = datetime.now(UTC)
        for node in list(self._nodes.all()):
            await self._look_after(node)
        for pod in list(self._pods.all()):
            node_name = node_of(pod)
            if node_name:
                await self._look_at_pod(pod, self._nodes.get(ObjectKey("", node_name)), now)

    async def _look_after(self, node: KubeObject) -> None:
        name = name_of(node)
        if self._silence_seconds(name) > self._patience.grace_seconds and not is_lost(node):
            await self._declare_lost(node)
            return
        taints = wanted_taints(node, now_text())
        if taints != (node["spec"].get("taints") or []):
            version = node["metadata"].get("resourceVersion")
            patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": taints or None}}
            await self._client.patch(NODES, None, name, patch)

    def _silence_seconds(self, name: str) -> float:
        lease = self._leases.get(ObjectKey(LEASE_NAMESPACE, name))
        renewed = str(((lease or {}).get("spec") or {}).get("renewTime") or "")
        now = asyncio.get_running_loop().time()
        last, at = self._heard.get(name, (None, now))
        if renewed != last:
            self._heard[name] = (renewed, now)
            return 0.0
        return now - at

    async def _declare_lost(self, node: KubeObject) -> None:
        _log.warning("node %s has not renewed its lease; it counts as lost", name_of(node))
        condition = {
            **(condition_of(node, "Ready") or {"type": "Ready"}),
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": now_text(),
        }
        patch = {"status": {"conditions": [condition]}}
        await self._client.patch(NODES, None, name_of(node), patch, kind=Patch.STRATEGIC, subresource="status")
        self._events.normal(NODES, node, "NodeNotReady", f"Node {name_of(node)} status is now: NodeNotReady")

    async def _look_at_pod(self, pod: KubeObject, node: KubeObject | None, now: datetime) -> None:
        if node is None:
            await self._look_at_orphan(pod)
            return
        self._orphaned.pop(ObjectKey(namespace_of(pod), name_of(pod)), None)
        if is_lost(node) and is_ready(pod):
            await self._unready(pod)
        if is_terminating(pod):
            overdue = age_seconds(pod["metadata"]["deletionTimestamp"], now) > 0  # includes the grace period
            if is_lost(node) and overdue:
                await self._delete(pod, force=True)
            return
        wait = evict_in(pod, node, self._patience, now)
        if wait is not None and wait <= 0 and not is_finished(pod):
            self._events.normal(
                PODS, pod, "TaintManagerEviction", f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
            )
            await self._delete(pod, force=False)

    async def _look_at_orphan(self, pod: KubeObject) -> None:
        key = ObjectKey(namespace_of(pod), name_of(pod))
        now = asyncio.get_running_loop().time()
        if now - self._orphaned.setdefault(key, now) >= ORPHAN_SECONDS:
            del self._orphaned[key]
            await self._delete(pod, force=True)

    async def _unready(self, pod: KubeObject) -> None:
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "NodeNotReady",
            "message": "the node has fallen silent",
            "lastTransitionTime": now_text(),
        }
        patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, namespace_of(pod), name_of(pod), patch, kind=Patch.STRATEGIC, subresource="status"
            )
        except NotFoundError:
            return

    async def _delete(self, pod: KubeObject, *, force: bool) -> None:
        grace = 0 if force else None
        try:
            await self._client.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod), grace_seconds=grace)
        except NotFoundError:
            return
