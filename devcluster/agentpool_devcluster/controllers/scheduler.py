"""Bind pods to nodes.

Every pass considers all waiting pods, highest priority and oldest first, with the room that is free now; `placement`
decides. A pass runs after each relevant change of pods or nodes. The node of the pod takes over.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.placement import NodeRoom, Placement, place, rooms_of
from agentpool_devcluster.controllers.pod_state import is_finished, node_of
from agentpool_devcluster.kube.client import KubeClient, Patch
from agentpool_devcluster.kube.errors import ApiError, KubeError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    Uid,
    condition_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    now_text,
    uid_of,
)
from agentpool_devcluster.kube.resources import PODS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.kube.informer import Change, Informer

_log = logging.getLogger(__name__)

SCHEDULER_NAME = "default-scheduler"
RETRY_SECONDS = 1.0  # after a pass that failed
REPEAT_SECONDS = 60.0  # interval between reports of an unchanged reason


class Scheduler:
    """Places pods that wait for a node."""

    def __init__(self, client: KubeClient, events: EventRecorder, *, pods: Informer, nodes: Informer) -> None:
        self._client = client
        self._events = events
        self._pods = pods
        self._nodes = nodes
        self._wake = asyncio.Event()
        self._assumed: dict[Uid, str] = {}  # bound by us, not yet seen as bound in the cache
        self._reported: dict[Uid, tuple[str, float]] = {}  # last reported reason, and its time (loop time)
        pods.subscribe(self._pod_changed)
        nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self._pods.synced()
        await self._nodes.synced()
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.run_once()
            except KubeError as error:
                _log.warning("scheduler: %s; again in %.0f s", error, RETRY_SECONDS)
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def run_once(self) -> None:
        """Run one pass over all waiting pods."""
        waiting = waiting_pods(self._pods.all(), self._assumed)
        if not waiting:
            return
        rooms = rooms_of(list(self._nodes.all()), self._holding())
        placed: list[tuple[KubeObject, Placement]] = []
        for pod in waiting:
            placement = place(pod, rooms)
            placed.append((pod, placement))
            if placement.node is not None:
                self._assume(pod, placement.node, rooms)
        outcomes = await asyncio.gather(*(self._carry_out(*pair) for pair in placed), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _holding(self) -> list[tuple[str, KubeObject]]:
        """Return the pods that hold resources, each with its node, including terminating pods."""
        holding: list[tuple[str, KubeObject]] = []
        for pod in self._pods.all():
            node = node_of(pod) or self._assumed.get(uid_of(pod), "")
            if node and not is_finished(pod):
                holding.append((node, pod))
        return holding

    def _assume(self, pod: KubeObject, node: str, rooms: Sequence[NodeRoom]) -> None:
        self._assumed[uid_of(pod)] = node
        next(room for room in rooms if name_of(room.node) == node).take(pod)

    async def _carry_out(self, pod: KubeObject, placement: Placement) -> None:
        if placement.node is None:
            await self._tell(pod, placement.message)
        else:
            await self._bind(pod, placement.node)

    async def _bind(self, pod: KubeObject, node: str) -> None:
        namespace, name = namespace_of(pod), name_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, namespace, binding, name=name, subresource="binding")
        except ApiError as error:
            # Gone, or bound elsewhere: the cache will show, and the pod stops or resumes waiting.
            _log.debug("binding %s/%s to %s: %s", namespace, name, node, error)
            self._assumed.pop(uid_of(pod), None)
        except KubeError:
            self._assumed.pop(uid_of(pod), None)
            raise
        else:
            self._reported.pop(uid_of(pod), None)
            message = f"Successfully assigned {namespace}/{name} to {node}"
            self._events.normal(PODS, pod, "Scheduled", message)

    async def _tell(self, pod: KubeObject, message: str) -> None:
        """Say why the pod waits: an event and the PodScheduled condition, when the reason is new or old enough."""
        now = asyncio.get_running_loop().time()
        reported, at = self._reported.get(uid_of(pod), ("", 0.0))
        if reported == message and now - at < REPEAT_SECONDS:
            return
        self._reported[uid_of(pod)] = (message, now)
        self._events.warning(PODS, pod, "FailedScheduling", message)
        before = condition_of(pod, "PodScheduled") or {}
        if before.get("status") == "False" and before.get("message") == message:
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": before.get("lastTransitionTime") or now_text(),
        }
        patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, namespace_of(pod), name_of(pod), patch, kind=Patch.STRATEGIC, subresource="status"
            )
        except ApiError as error:
            _log.debug("condition of %s not written: %s", name_of(pod), error)

    def _pod_changed(self, change: Change) -> None:
        pod = change.current
        if change.new is None:
            self._assumed.pop(uid_of(pod), None)
            self._reported.pop(uid_of(pod), None)
        elif node_of(pod):
            self._assumed.pop(uid_of(pod), None)
        freed = node_of(pod) and (change.new is None or is_finished(pod))
        if freed or not node_of(pod):
            self._wake.set()

    def _node_changed(self, change: Change) -> None:
        old = _relevant(change.old) if change.old else None
        if change.new is None or old != _relevant(change.new):
            self._wake.set()


def waiting_pods(pods: Any, assumed: Mapping[Uid, str]) -> list[KubeObject]:
    """Return the pods this scheduler should place, in the order of service."""
    waiting = [pod for pod in pods if _is_waiting(pod) and uid_of(pod) not in assumed]
    return sorted(
        waiting,
        key=lambda pod: (
            -int(pod["spec"].get("priority") or 0),
            pod["metadata"].get("creationTimestamp") or "",
            int(pod["metadata"].get("resourceVersion") or 0),
        ),
    )


def _is_waiting(pod: KubeObject) -> bool:
    ours = (pod["spec"].get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME
    gated = bool(pod["spec"].get("schedulingGates"))
    return ours and not gated and not node_of(pod) and not is_terminating(pod) and not is_finished(pod)


def _relevant(node: KubeObject) -> tuple[Any, ...]:
    """Return the fields of a node that matter for placement; heartbeats do not."""
    spec = node["spec"]
    allocatable = (node.get("status") or {}).get("allocatable")
    return (spec.get("unschedulable"), spec.get("taints"), labels_of(node), allocatable)
