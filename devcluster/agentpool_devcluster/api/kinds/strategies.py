"""Peculiarities of built-in kinds, in one table: defaults, initial status, rules.

`operations` reads this table and names no kind itself. Kinds that are not listed follow the common rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.kinds import definitions, plain, pods, workloads
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.registry import Resource

Problems = Callable[[Json, Json | None], Iterator[Cause]]


def _no_problems(_body: Json, _old: Json | None) -> Iterator[Cause]:
    yield from ()


def _nothing(_body: Json) -> None:
    pass


def _keep_nothing(_new: Json, _old: Json) -> None:
    pass


def _empty_status(_body: Json) -> Json | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Exceptions of a kind from the common rules."""

    default: Callable[[Json], None] = _nothing  # fills in defaults, in place, on every write
    carry: Callable[[Json, Json], None] = _keep_nothing  # copies server-chosen values from old to new
    problems: Problems = _no_problems  # problems of the new object, given the old object if present
    initial_status: Callable[[Json], Json | None] = _empty_status  # status of a new object; None: none
    keeps_status_on_create: bool = False  # the creator brings the status along
    status_writes_metadata: bool = False  # labels and annotations may change through the status
    stored_only: str = ""  # missing controller work for this kind; empty: complete


def _pod_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    yield from pods.pod_spec_problems(body.get("spec") or {}, "spec")
    if old is not None:
        yield from pods.pod_change_problems(body, old)


def _stored_only(kind: str) -> str:
    return f"the devcluster stores {kind} objects but runs no controller for them: nothing will come of it"


def _not_enforced(kind: str) -> str:
    return f"the devcluster stores {kind} objects but does not enforce them"


def _job_problems(body: Json, _old: Json | None) -> Iterator[Cause]:
    template = (body.get("spec") or {}).get("template") or {}
    yield from pods.pod_spec_problems(template.get("spec") or {}, "spec.template.spec")


PLAIN = Strategy()
_STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Pod"): Strategy(
        default=pods.default_pod,
        problems=_pod_problems,
        initial_status=lambda body: pods.initial_pod_status(body.get("spec") or {}),
        status_writes_metadata=True,
    ),
    ("", "Node"): Strategy(keeps_status_on_create=True, status_writes_metadata=True),
    ("", "Namespace"): Strategy(default=plain.default_namespace, initial_status=lambda _body: {"phase": "Active"}),
    ("", "Service"): Strategy(
        default=plain.default_service,
        carry=plain.keep_service_address,
        problems=plain.service_problems,
        initial_status=lambda _body: {"loadBalancer": {}},
        stored_only="the devcluster gives a Service no endpoints: its address and its name lead nowhere",
    ),
    ("", "Secret"): Strategy(default=plain.default_secret, problems=plain.secret_problems),
    ("", "ConfigMap"): Strategy(problems=plain.immutable_data_problems),
    ("", "PersistentVolumeClaim"): Strategy(
        initial_status=lambda _body: {"phase": "Pending"}, stored_only=_stored_only("PersistentVolumeClaim")
    ),
    ("apps", "Deployment"): Strategy(default=workloads.default_deployment, problems=workloads.workload_problems),
    ("apps", "ReplicaSet"): Strategy(
        default=workloads.default_replica_set,
        problems=workloads.workload_problems,
        initial_status=lambda _body: {"replicas": 0},
    ),
    ("apps", "StatefulSet"): Strategy(
        default=workloads.default_stateful_set,
        problems=workloads.workload_problems,
        initial_status=lambda _body: {"replicas": 0},
    ),
    ("apps", "DaemonSet"): Strategy(
        default=workloads.default_daemon_set,
        problems=workloads.workload_problems,
        stored_only=_stored_only("DaemonSet"),
    ),
    ("batch", "Job"): Strategy(default=workloads.default_job, problems=_job_problems, stored_only=_stored_only("Job")),
    ("batch", "CronJob"): Strategy(stored_only=_stored_only("CronJob")),
    ("networking.k8s.io", "Ingress"): Strategy(stored_only=_stored_only("Ingress")),
    ("", "ReplicationController"): Strategy(stored_only=_stored_only("ReplicationController")),
    **{
        place: Strategy(stored_only=_not_enforced(place[1]))
        for place in (("", "ResourceQuota"), ("", "LimitRange"), ("networking.k8s.io", "NetworkPolicy"))
    },
    ("autoscaling", "HorizontalPodAutoscaler"): Strategy(
        default=plain.default_autoscaler, stored_only=_stored_only("HorizontalPodAutoscaler")
    ),
    ("scheduling.k8s.io", "PriorityClass"): Strategy(default=plain.default_priority_class),
    ("rbac.authorization.k8s.io", "RoleBinding"): Strategy(
        default=plain.default_binding, problems=plain.binding_problems
    ),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): Strategy(
        default=plain.default_binding, problems=plain.binding_problems
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Strategy(
        default=definitions.default_definition, problems=definitions.definition_problems
    ),
}


def strategy_of(resource: Resource) -> Strategy:
    """Return how a resource's kind departs from the common rules."""
    return PLAIN if resource.is_custom else _STRATEGIES.get((resource.group, resource.kind), PLAIN)
