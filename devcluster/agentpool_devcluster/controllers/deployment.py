"""Roll out Deployments through ReplicaSets, one step per pass.

The decisions are in `rollout` (sizes), `revisions` (history) and `deployment_status`; this module reads, writes and
waits. The ReplicaSet controller takes over with the sizes.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentpool_devcluster.controllers import revisions, rollout
from agentpool_devcluster.controllers.deployment_status import seconds_to_deadline, status_of
from agentpool_devcluster.controllers.ownership import claim, owner_key
from agentpool_devcluster.controllers.pod_template import same_template
from agentpool_devcluster.kube.errors import AlreadyExistsError, NotFoundError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    annotations_of,
    controller_of,
    is_controlled_by,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from agentpool_devcluster.kube.resources import DEPLOYMENTS, REPLICA_SETS
from agentpool_devcluster.kube.selectors import label_selector_matches
from agentpool_devcluster.kube.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.kube.informer import Change, Informer

_log = logging.getLogger(__name__)

WORKERS = 5


class DeploymentController:
    """Reconciles Deployments into ReplicaSets."""

    def __init__(
        self,
        client: KubeClient,
        events: EventRecorder,
        *,
        deployments: Informer,
        replica_sets: Informer,
        pods: Informer,
    ) -> None:
        self._client = client
        self._events = events
        self._deployments = deployments
        self._replica_sets = replica_sets
        self._pods = pods
        self._queue: WorkQueue[ObjectKey] = WorkQueue("deployment")
        deployments.subscribe(self._deployment_changed)
        replica_sets.subscribe(self._replica_set_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        for informer in (self._deployments, self._replica_sets, self._pods):
            await informer.synced()
        await self._queue.run(self.reconcile, workers=WORKERS)

    async def reconcile(self, key: ObjectKey) -> None:
        """Advance one Deployment by one step and update its status."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return
        candidates = self._replica_sets.in_namespace(key.namespace)
        owned = await claim(self._client, deployment, DEPLOYMENTS, candidates, REPLICA_SETS)
        current = revisions.current_of(deployment, owned)
        if not is_terminating(deployment):
            current = await self._step(deployment, current, owned)
        old = [one for one in owned if current is None or uid_of(one) != uid_of(current)]
        await self._report(deployment, current, old)

    async def _step(
        self, deployment: KubeObject, current: KubeObject | None, owned: Sequence[KubeObject]
    ) -> KubeObject | None:
        """Take one step; return the ReplicaSet of the current revision, which the step may have created."""
        spec = deployment["spec"]
        wanted, strategy = rollout.wanted_replicas(spec), rollout.strategy_of(spec)
        pods = self._pods.in_namespace(namespace_of(deployment))
        views = {name_of(one): revisions.view(one, pods) for one in revisions.by_age(owned)}
        newest = views[name_of(current)] if current else None
        if spec.get("paused") or revisions.is_size_changed(deployment, owned):
            sizes = rollout.plan_scaling(wanted, strategy, newest, list(views.values()))
            await self._resize(deployment, owned, sizes, everyone=True)
            return current
        old = [view for name, view in views.items() if newest is None or name != newest.name]
        if current is None or newest is None:
            return await self._begin(deployment, owned, old)
        await self._number(deployment, current, owned)
        await self._resize(deployment, owned, rollout.plan(wanted, strategy, newest, old))
        if newest.wanted == wanted and newest.available >= wanted:
            await self._forget(deployment, [one for one in owned if uid_of(one) != uid_of(current)])
        return current

    async def _begin(
        self, deployment: KubeObject, owned: Sequence[KubeObject], old: Sequence[rollout.Revision]
    ) -> KubeObject | None:
        """Create the ReplicaSet of a new template; return None if the name is taken and the next name must be tried."""
        spec = deployment["spec"]
        wanted, strategy = rollout.wanted_replicas(spec), rollout.strategy_of(spec)
        size = rollout.first_size(wanted, strategy, rollout.Revision(name="", wanted=0, available=0), old)
        number = revisions.next_revision(owned, None)
        annotations = {
            revisions.REVISION: str(number),
            **revisions.size_annotations(wanted, wanted + strategy.max_surge),
        }
        manifest = revisions.new_replica_set(deployment, replicas=size, annotations=annotations)
        try:
            created = await self._client.create(REPLICA_SETS, namespace_of(deployment), manifest)
        except AlreadyExistsError:
            await self._name_taken(deployment, manifest)
            return None
        if size:
            self._say_scaled(deployment, name_of(created), 0, size)
        await self._note_revision(deployment, number)
        return created

    async def _name_taken(self, deployment: KubeObject, manifest: KubeObject) -> None:
        """Handle a name that belongs to a different ReplicaSet: a stale cache, or two templates with the same hash."""
        namespace = namespace_of(deployment)
        try:
            holder = await self._client.get(REPLICA_SETS, namespace, name_of(manifest))
        except NotFoundError:
            holder = None
        ours = holder is not None and is_controlled_by(holder, deployment)
        if holder is not None and ours and same_template(holder["spec"]["template"], manifest["spec"]["template"]):
            self._queue.add_after(key_of(deployment), 0.05)
            return
        collisions = int((deployment.get("status") or {}).get("collisionCount") or 0) + 1
        patch = {"status": {"collisionCount": collisions}}
        await self._client.patch(DEPLOYMENTS, namespace, name_of(deployment), patch, subresource="status")

    async def _number(self, deployment: KubeObject, current: KubeObject, owned: Sequence[KubeObject]) -> None:
        """Give the current ReplicaSet the highest revision number, and the Deployment the same number."""
        number = revisions.next_revision(owned, current)
        annotations = {**revisions.copied_annotations(deployment), revisions.REVISION: str(number)}
        has = annotations_of(current)
        if any(has.get(name) != value for name, value in annotations.items()):
            patch = {"metadata": {"annotations": annotations}}
            await self._client.patch(REPLICA_SETS, namespace_of(current), name_of(current), patch)
        await self._note_revision(deployment, number)

    async def _note_revision(self, deployment: KubeObject, number: int) -> None:
        if revisions.revision_number(deployment) != number:
            patch = {"metadata": {"annotations": {revisions.REVISION: str(number)}}}
            await self._client.patch(DEPLOYMENTS, namespace_of(deployment), name_of(deployment), patch)

    async def _resize(
        self,
        deployment: KubeObject,
        owned: Sequence[KubeObject],
        sizes: Mapping[str, int],
        *,
        everyone: bool = False,
    ) -> None:
        """Write the planned sizes; with `everyone`, also record the Deployment's size on unchanged ReplicaSets."""
        spec = deployment["spec"]
        wanted = rollout.wanted_replicas(spec)
        noted = revisions.size_annotations(wanted, wanted + rollout.strategy_of(spec).max_surge)
        for replica_set in owned:
            name, before = name_of(replica_set), rollout.wanted_replicas(replica_set["spec"])
            after = sizes.get(name, before)
            has = annotations_of(replica_set)
            stale = (everyone and before > 0) and any(has.get(key) != value for key, value in noted.items())
            if after == before and not stale:
                continue
            version = replica_set["metadata"].get("resourceVersion")
            patch = {
                "metadata": {"resourceVersion": version, "annotations": noted},
                "spec": {"replicas": after},
            }
            await self._client.patch(REPLICA_SETS, namespace_of(replica_set), name, patch)
            if after != before:
                self._say_scaled(deployment, name, before, after)

    def _say_scaled(self, deployment: KubeObject, name: str, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        self._events.normal(DEPLOYMENTS, deployment, "ScalingReplicaSet", message)

    async def _forget(self, deployment: KubeObject, old: Sequence[KubeObject]) -> None:
        for replica_set in revisions.forgotten(deployment, old):
            namespace, name = namespace_of(replica_set), name_of(replica_set)
            try:
                await self._client.delete(REPLICA_SETS, namespace, name, uid=uid_of(replica_set))
            except NotFoundError:
                continue

    async def _report(self, deployment: KubeObject, current: KubeObject | None, old: Sequence[KubeObject]) -> None:
        now = datetime.now(UTC)
        status = status_of(deployment, current, old, now)
        wait = seconds_to_deadline(deployment, status, now)
        if wait is not None:
            self._queue.add_after(key_of(deployment), max(wait, 1.0))
        before = deployment.get("status") or {}
        if any((before.get(field) or 0) != (value or 0) for field, value in status.items()):
            key = key_of(deployment)
            await self._client.patch(DEPLOYMENTS, key.namespace, key.name, {"status": status}, subresource="status")

    def _deployment_changed(self, change: Change) -> None:
        self._queue.add(key_of(change.current))

    def _replica_set_changed(self, change: Change) -> None:
        owner = owner_key(change.current, "Deployment")
        if owner is not None:
            self._queue.add(owner)
        elif change.new is not None:
            for deployment in self._deployments.in_namespace(namespace_of(change.new)):
                if label_selector_matches(deployment["spec"].get("selector"), labels_of(change.new)):
                    self._queue.add(key_of(deployment))

    def _pod_changed(self, change: Change) -> None:
        """Continue a Recreate rollout when a pod is gone; the ReplicaSet's status covers all remaining changes."""
        if change.new is not None and (change.new.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            return
        owner = owner_key(change.current, "ReplicaSet")
        replica_set = self._replica_sets.get(owner) if owner else None
        deployment = owner_key(replica_set, "Deployment") if replica_set and controller_of(replica_set) else None
        if deployment is not None:
            self._queue.add(deployment)
