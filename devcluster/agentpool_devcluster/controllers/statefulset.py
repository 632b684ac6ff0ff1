"""Keeps the numbered pods of StatefulSets; `ordinals` decides, this module reads and writes.

Volume claim templates are refused by name: this cluster has no persistent volumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_devcluster.controllers.ordinals import REVISION_LABEL, next_step, ordinal_of
from agentpool_devcluster.controllers.ownership import claim, owner_key
from agentpool_devcluster.controllers.pod_state import is_active, is_ready
from agentpool_devcluster.controllers.pod_template import pod_from_template, template_hash
from agentpool_devcluster.controllers.rollout import wanted_replicas
from agentpool_devcluster.kube.errors import AlreadyExistsError, NotFoundError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from agentpool_devcluster.kube.resources import PODS, STATEFUL_SETS
from agentpool_devcluster.kube.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.kube.informer import Change, Informer


class StatefulSetController:
    """Reconcile StatefulSets into pods. Fixed names prevent duplicates despite a stale cache."""

    def __init__(self, client: KubeClient, events: EventRecorder, *, stateful_sets: Informer, pods: Informer) -> None:
        self._client = client
        self._events = events
        self._stateful_sets = stateful_sets
        self._pods = pods
        self._queue: WorkQueue[ObjectKey] = WorkQueue("statefulset")
        stateful_sets.subscribe(lambda change: self._queue.add(key_of(change.current)))
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._stateful_sets.synced()
        await self._pods.synced()
        await self._queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: ObjectKey) -> None:
        """Advance one set by one step and update its status."""
        stateful_set = self._stateful_sets.get(key)
        if stateful_set is None:
            return
        candidates = self._pods.in_namespace(key.namespace)
        pods = await claim(self._client, stateful_set, STATEFUL_SETS, candidates, PODS)
        revision = f"{key.name}-{template_hash(stateful_set['spec'].get('template') or {}, 0)}"
        if not is_terminating(stateful_set):
            await self._step(stateful_set, pods, revision)
        await self._report(stateful_set, pods, revision)

    async def _step(self, stateful_set: KubeObject, pods: Sequence[KubeObject], revision: str) -> None:
        if stateful_set["spec"].get("volumeClaimTemplates"):
            message = "spec.volumeClaimTemplates is not supported by this cluster; turn persistence off or use emptyDir"
            self._events.warning(STATEFUL_SETS, stateful_set, "FailedCreate", message)
            return
        step = next_step(stateful_set, pods, revision)
        for number in step.create:
            await self._create(stateful_set, number, revision)
        for pod in step.delete:
            await self._delete(stateful_set, pod)

    async def _create(self, stateful_set: KubeObject, number: int, revision: str) -> None:
        name = f"{name_of(stateful_set)}-{number}"
        pod = pod_from_template(stateful_set["spec"].get("template") or {}, stateful_set, STATEFUL_SETS)
        del pod["metadata"]["generateName"]
        pod["metadata"]["name"] = name
        pod["metadata"]["labels"] |= {
            REVISION_LABEL: revision,
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(number),
        }
        pod["spec"] |= {"hostname": name, "subdomain": stateful_set["spec"].get("serviceName") or ""}
        try:
            await self._client.create(PODS, namespace_of(stateful_set), pod)
        except AlreadyExistsError:
            return  # a stale cache, or a foreign pod of that name
        message = f"create Pod {name} in StatefulSet {name_of(stateful_set)} successful"
        self._events.normal(STATEFUL_SETS, stateful_set, "SuccessfulCreate", message)

    async def _delete(self, stateful_set: KubeObject, pod: KubeObject) -> None:
        try:
            await self._client.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod))
        except NotFoundError:
            return
        message = f"delete Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)} successful"
        self._events.normal(STATEFUL_SETS, stateful_set, "SuccessfulDelete", message)

    async def _report(self, stateful_set: KubeObject, pods: Sequence[KubeObject], revision: str) -> None:
        active = [pod for pod in pods if is_active(pod) and ordinal_of(stateful_set, pod) is not None]
        updated = [pod for pod in active if labels_of(pod).get(REVISION_LABEL) == revision]
        ready = [pod for pod in active if is_ready(pod)]
        before = stateful_set.get("status") or {}
        done = len(updated) == len(active) == len(ready) == wanted_replicas(stateful_set["spec"])
        status = {
            "observedGeneration": stateful_set["metadata"].get("generation", 0),
            "replicas": len(active),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
            "updatedReplicas": len(updated),
            "currentReplicas": len(updated) if done else len(active) - len(updated),
            "updateRevision": revision,
            "currentRevision": revision if done else before.get("currentRevision") or revision,
            "collisionCount": 0,
        }
        if any(before.get(field) != value for field, value in status.items()):
            key = key_of(stateful_set)
            await self._client.patch(STATEFUL_SETS, key.namespace, key.name, {"status": status}, subresource="status")

    def _pod_changed(self, change: Change) -> None:
        owner = owner_key(change.current, "StatefulSet")
        if owner is not None:
            self._queue.add(owner)
