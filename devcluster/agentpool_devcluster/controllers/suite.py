"""All control loops on shared caches: the counterpart of `kube-controller-manager` and `kube-scheduler`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentpool_devcluster.controllers.deployment import DeploymentController
from agentpool_devcluster.controllers.disruption import DisruptionController
from agentpool_devcluster.controllers.node_lifecycle import LEASE_NAMESPACE, NodeLifecycle
from agentpool_devcluster.controllers.replicaset import ReplicaSetController
from agentpool_devcluster.controllers.scheduler import SCHEDULER_NAME, Scheduler
from agentpool_devcluster.controllers.statefulset import StatefulSetController
from agentpool_devcluster.kube.events import EventRecorder
from agentpool_devcluster.kube.informer import Informer
from agentpool_devcluster.kube.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
)

if TYPE_CHECKING:
    from agentpool_devcluster.controllers.node_health import Patience
    from agentpool_devcluster.kube.client import KubeClient


class ControllerSuite:
    """The controllers of one cluster. `run` runs them until cancelled; the first failure ends all."""

    def __init__(self, client: KubeClient, *, patience: Patience | None = None) -> None:
        self._client = client
        self._patience = patience

    async def run(self) -> None:
        """Run every loop until cancelled."""
        client = self._client
        deployments = Informer(client, DEPLOYMENTS)
        replica_sets = Informer(client, REPLICA_SETS)
        pods = Informer(client, PODS)
        nodes = Informer(client, NODES)
        leases = Informer(client, LEASES, LEASE_NAMESPACE)
        stateful_sets = Informer(client, STATEFUL_SETS)
        budgets = Informer(client, DISRUPTION_BUDGETS)
        names = ("deployment-controller", "replicaset-controller", "statefulset-controller", "node-controller")
        recorders = {name: EventRecorder(client, component=name) for name in (*names, SCHEDULER_NAME)}
        loops = [
            DeploymentController(
                client,
                recorders["deployment-controller"],
                deployments=deployments,
                replica_sets=replica_sets,
                pods=pods,
            ).run(),
            ReplicaSetController(client, recorders["replicaset-controller"], replica_sets, pods).run(),
            StatefulSetController(
                client, recorders["statefulset-controller"], stateful_sets=stateful_sets, pods=pods
            ).run(),
            DisruptionController(client, budgets=budgets, pods=pods, controllers=(replica_sets, stateful_sets)).run(),
            Scheduler(client, recorders[SCHEDULER_NAME], pods=pods, nodes=nodes).run(),
            NodeLifecycle(
                client,
                recorders["node-controller"],
                nodes=nodes,
                leases=leases,
                pods=pods,
                patience=self._patience,
            ).run(),
        ]
        informers = (deployments, replica_sets, stateful_sets, budgets, pods, nodes, leases)
        async with asyncio.TaskGroup() as group:
            for loop in [*loops, *(one.run() for one in informers), *(one.run() for one in recorders.values())]:
                group.create_task(loop)
