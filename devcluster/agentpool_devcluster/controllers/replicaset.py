"""Keep as many pods as a ReplicaSet specifies: create, adopt, release, delete.

Level-triggered: every pass counts the existing pods. Expectations prevent actions on a stale cache. The scheduler and
the nodes take over with the pods.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.deletion_order import deletion_order
from agentpool_devcluster.controllers.expectations import Expectations
from agentpool_devcluster.controllers.ownership import claim, owner_key
from agentpool_devcluster.controllers.pod_state import available_in, is_active, is_finished, is_ready
from agentpool_devcluster.controllers.pod_template import pod_from_template
from agentpool_devcluster.controllers.rollout import wanted_replicas
from agentpool_devcluster.kube.errors import KubeError, NotFoundError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    now_text,
    uid_of,
    with_condition,
)
from agentpool_devcluster.kube.resources import PODS, REPLICA_SETS
from agentpool_devcluster.kube.selectors import label_selector_matches
from agentpool_devcluster.kube.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.kube.informer import Change, Informer

_log = logging.getLogger(__name__)

WORKERS = 5
LARGEST_BURST = 500  # pods created or deleted in one pass


class ReplicaSetController:
    """Reconciles ReplicaSets into pods."""

    def __init__(self, client: KubeClient, events: EventRecorder, replica_sets: Informer, pods: Informer) -> None:
        self._client = client
        self._events = events
        self._replica_sets = replica_sets
        self._pods = pods
        self._expectations = Expectations(time.monotonic)
        self._queue: WorkQueue[ObjectKey] = WorkQueue("replicaset")
        replica_sets.subscribe(self._replica_set_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._replica_sets.synced()
        await self._pods.synced()
        await self._queue.run(self.reconcile, workers=WORKERS)

    async def reconcile(self, key: ObjectKey) -> None:
        """Bring the pods and the status of one ReplicaSet in line with the spec."""
        replica_set = self._replica_sets.get(key)
        if replica_set is None:
            self._expectations.forget(key)
            return
        namespace_pods = self._pods.in_namespace(key.namespace)
        owned = await claim(self._client, replica_set, REPLICA_SETS, namespace_pods, PODS)
        active = [pod for pod in owned if is_active(pod)]
        failure: KubeError | None = None
        if self._expectations.met(key) and not is_terminating(replica_set):
            try:
                await self._match(replica_set, active)
            except KubeError as error:
                failure = error
        await self._report(replica_set, owned, active, failure)
        if failure is not None:
            raise failure

    async def _match(self, replica_set: KubeObject, active: Sequence[KubeObject]) -> None:
        missing = wanted_replicas(replica_set["spec"]) - len(active)
        if missing > 0:
            await self._create(replica_set, min(missing, LARGEST_BURST))
        elif missing < 0:
            related = self._related(replica_set, active)
            order = deletion_order(active, related, datetime.now(UTC))
            await self._delete(replica_set, order[: min(-missing, LARGEST_BURST)])

    def _related(self, replica_set: KubeObject, active: Sequence[KubeObject]) -> Sequence[KubeObject]:
        """Return the active pods of all ReplicaSets of the same Deployment."""
        owner = controller_of(replica_set)
        if owner is None:
            return active
        siblings = {
            uid_of(other)
            for other in self._replica_sets.in_namespace(namespace_of(replica_set))
            if (controller_of(other) or {}).get("uid") == owner["uid"]
        }
        pods = self._pods.in_namespace(namespace_of(replica_set))
        return [pod for pod in pods if is_active(pod) and (controller_of(pod) or {}).get("uid") in siblings]

    async def _create(self, replica_set: KubeObject, count: int) -> None:
        """Create pods in batches of 1, 2, 4, …: where the first is refused, the rest are not tried."""
        key = key_of(replica_set)
        pod = pod_from_template(replica_set["spec"].get("template") or {}, replica_set, REPLICA_SETS)
        self._expectations.expect_creations(key, count)
        left, batch = count, 1
        while left:
            batch = min(batch, left)
            outcomes = await asyncio.gather(
                *(self._create_one(replica_set, pod) for _ in range(batch)), return_exceptions=True
            )
            left -= batch
            failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            if failures:
                for _ in range(left):
                    self._expectations.creation_seen(key)
                raise failures[0]
            batch *= 2

    async def _create_one(self, replica_set: KubeObject, pod: KubeObject) -> None:
        try:
            created = await self._client.create(PODS, namespace_of(replica_set), pod)
        except KubeError as error:
            self._expectations.creation_seen(key_of(replica_set))
            message = f"Error creating: {error}"
            self._events.warning(REPLICA_SETS, replica_set, "FailedCreate", message)
            raise
        self._events.normal(REPLICA_SETS, replica_set, "SuccessfulCreate", f"Created pod: {name_of(created)}")

    async def _delete(self, replica_set: KubeObject, victims: Sequence[KubeObject]) -> None:
        self._expectations.expect_deletions(key_of(replica_set), [uid_of(pod) for pod in victims])
        outcomes = await asyncio.gather(
            *(self._delete_one(replica_set, pod) for pod in victims), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _delete_one(self, replica_set: KubeObject, pod: KubeObject) -> None:
        try:
            await self._client.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod))
        except NotFoundError:
            self._expectations.deletion_seen(key_of(replica_set), uid_of(pod))
        except KubeError as error:
            self._expectations.deletion_seen(key_of(replica_set), uid_of(pod))
            self._events.warning(REPLICA_SETS, replica_set, "FailedDelete", f"Error deleting: {error}")
            raise
        else:
            self._events.normal(REPLICA_SETS, replica_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    async def _report(
        self,
        replica_set: KubeObject,
        owned: Sequence[KubeObject],
        active: Sequence[KubeObject],
        failure: KubeError | None,
    ) -> None:
        now = datetime.now(UTC)
        min_ready = int(replica_set["spec"].get("minReadySeconds") or 0)
        waits = [wait for pod in active if (wait := available_in(pod, min_ready, now)) is not None]
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(1 for pod in active if _fully_labelled(replica_set, pod)),
            "readyReplicas": sum(1 for pod in active if is_ready(pod)),
            "availableReplicas": sum(1 for wait in waits if wait <= 0),
            "terminatingReplicas": sum(1 for pod in owned if is_terminating(pod) and not is_finished(pod)),
            "observedGeneration": int(replica_set["metadata"].get("generation") or 0),
            "conditions": _conditions(replica_set, failure),
        }
        pending = [wait for wait in waits if wait > 0]
        if pending:
            self._queue.add_after(key_of(replica_set), min(pending))
        before = replica_set.get("status") or {}
        if any((before.get(field) or _blank(value)) != value for field, value in status.items()):
            key = key_of(replica_set)
            await self._client.patch(REPLICA_SETS, key.namespace, key.name, {"status": status}, subresource="status")

    def _replica_set_changed(self, change: Change) -> None:
        self._queue.add(key_of(change.current))

    def _pod_changed(self, change: Change) -> None:
        for form in (change.old, change.new):
            owner = owner_key(form, "ReplicaSet") if form is not None else None
            if form is None or owner is None:
                continue
            if change.old is None:
                self._expectations.creation_seen(owner)
            if change.new is None or is_terminating(change.new):
                self._expectations.deletion_seen(owner, uid_of(form))
            self._queue.add(owner)
        if change.new is not None and controller_of(change.new) is None:
            self._orphan_appeared(change.new)

    def _orphan_appeared(self, pod: KubeObject) -> None:
        for replica_set in self._replica_sets.in_namespace(namespace_of(pod)):
            if label_selector_matches(replica_set["spec"].get("selector"), labels_of(pod)):
                self._queue.add(key_of(replica_set))


def _fully_labelled(replica_set: KubeObject, pod: KubeObject) -> bool:
    wanted = ((replica_set["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    labels = labels_of(pod)
    return all(labels.get(name) == value for name, value in wanted.items())


def _conditions(replica_set: KubeObject, failure: KubeError | None) -> list[dict[str, Any]]:
    """Return the status conditions: a failed pass adds ReplicaFailure, the next successful pass removes it."""
    before = (replica_set.get("status") or {}).get("conditions") or []
    if failure is None:
        return [condition for condition in before if condition.get("type") != "ReplicaFailure"]
    wanted = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": str(failure)}
    return with_condition(before, wanted, now_text())


def _blank(value: object) -> object:
    return 0 if isinstance(value, int) else []
