"""Maintain the status of PodDisruptionBudgets, which allows or refuses evictions.

`budget_status` is pure; the controller watches budgets, pods and the sizes of the pods' controllers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.pod_state import is_active, is_finished, is_ready
from agentpool_devcluster.controllers.rollout import wanted_replicas
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    controller_of,
    key_of,
    labels_of,
    namespace_of,
    now_text,
    uid_of,
    with_condition,
)
from agentpool_devcluster.kube.resources import DISRUPTION_BUDGETS
from agentpool_devcluster.kube.selectors import label_selector_matches
from agentpool_devcluster.kube.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.informer import Change, Informer


class DisruptionController:
    """Reconciles the status of disruption budgets."""

    def __init__(
        self, client: KubeClient, *, budgets: Informer, pods: Informer, controllers: Sequence[Informer]
    ) -> None:
        self._client = client
        self._budgets = budgets
        self._pods = pods
        self._controllers = controllers
        self._queue: WorkQueue[ObjectKey] = WorkQueue("disruption")
        budgets.subscribe(lambda change: self._queue.add(key_of(change.current)))
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        for informer in (self._budgets, self._pods, *self._controllers):
            await informer.synced()
        await self._queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: ObjectKey) -> None:
        """Update the status of one budget."""
        budget = self._budgets.get(key)
        if budget is None:
            return
        selector = budget["spec"].get("selector")
        meant = [
            pod for pod in self._pods.in_namespace(key.namespace) if label_selector_matches(selector, labels_of(pod))
        ]
        status = budget_status(budget, meant, self._expected(meant))
        before = budget.get("status") or {}
        if any(before.get(field) != value for field, value in status.items()):
            await self._client.patch(
                DISRUPTION_BUDGETS, key.namespace, key.name, {"status": status}, subresource="status"
            )

    def _expected(self, pods: Sequence[KubeObject]) -> int:
        """Return the expected number of pods: the sizes of their controllers, plus the pods without a controller."""
        owners = {str(owner["uid"]) for pod in pods if (owner := controller_of(pod))}
        sizes = {
            uid_of(one): wanted_replicas(one["spec"])
            for informer in self._controllers
            for one in informer.all()
            if uid_of(one) in owners
        }
        return sum(sizes.values()) + sum(1 for pod in pods if controller_of(pod) is None)

    def _pod_changed(self, change: Change) -> None:
        for budget in self._budgets.in_namespace(namespace_of(change.current)):
            if label_selector_matches(budget["spec"].get("selector"), labels_of(change.current)):
                self._queue.add(key_of(budget))


def budget_status(budget: Mapping[str, Any], pods: Sequence[KubeObject], expected: int) -> dict[str, Any]:
    """Return the status of a budget over these pods, of which `expected` should exist."""
    spec = budget["spec"]
    counted = [pod for pod in pods if not is_finished(pod)]
    if spec.get("maxUnavailable") is not None:
        desired = max(expected - _resolve(spec["maxUnavailable"], expected), 0)
    else:
        wanted = spec.get("minAvailable", 1)
        desired = _resolve(wanted, expected)
        if not isinstance(wanted, str):
            expected = len(counted)
    healthy = sum(1 for pod in counted if is_active(pod) and is_ready(pod))
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 0),
    }
    return {
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget["metadata"].get("generation", 0),
        "conditions": with_condition((budget.get("status") or {}).get("conditions") or [], condition, now_text()),
    }


def _resolve(value: Any, expected: int) -> int:
    """Return a number, or a percentage rounded up."""
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * expected / 100)
    return int(value)
