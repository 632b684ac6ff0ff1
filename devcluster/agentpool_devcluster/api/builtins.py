"""The built-in resources that the devcluster serves.

A resource that is not in this table is refused as unknown, by name, in discovery and by path.
"""

from __future__ import annotations

from functools import partial

from agentpool_devcluster.api.registry import ALL_VERBS, Registry, Resource, ScalePaths
from agentpool_devcluster.api.schema.builtin import builtin
from agentpool_devcluster.api.store import CollectionKey

_STATUS = frozenset({"status"})
_SCALED = frozenset({"status", "scale"})
_REVIEW = ("create",)
_EVENTS = CollectionKey("", "events")


def _resource(
    plural: str,
    kind: str,
    *,
    model: str = "",
    group: str = "",
    version: str = "v1",
    short: str = "",
    all_: bool = False,
    namespaced: bool = True,
    subresources: frozenset[str] = frozenset(),
    verbs: tuple[str, ...] = ALL_VERBS,
    generation: bool = False,
    storage: CollectionKey | None = None,
    storage_version: str = "",
) -> Resource:
    return Resource(
        group=group,
        version=version,
        plural=plural,
        singular=kind.lower(),
        kind=kind,
        namespaced=namespaced,
        short_names=tuple(short.split()),
        categories=("all",) if all_ else (),
        verbs=verbs,
        subresources=subresources,
        schema=partial(builtin, model or f"{version.title()}{kind}"),
        storage=storage,
        storage_version=storage_version,
        has_generation=generation,
        scale=ScalePaths() if "scale" in subresources else None,
    )


def _core() -> list[Resource]:
    pod = frozenset({"status", "log", "binding", "eviction"})
    return [
        _resource("configmaps", "ConfigMap", short="cm"),
        _resource("endpoints", "Endpoints", short="ep"),
        _resource("events", "Event", model="CoreV1Event", short="ev"),
        _resource("limitranges", "LimitRange", short="limits"),
        _resource("namespaces", "Namespace", short="ns", namespaced=False,
                  subresources=frozenset({"status", "finalize"}),
                  verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection")),
        _resource("nodes", "Node", short="no", namespaced=False, subresources=_STATUS),
        _resource("persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", subresources=_STATUS),
        _resource("persistentvolumes", "PersistentVolume", short="pv", namespaced=False, subresources=_STATUS),
        _resource("pods", "Pod", short="po", all_=True, subresources=pod, generation=True),
        _resource("replicationcontrollers", "ReplicationController", short="rc", all_=True, subresources=_STATUS,
                  generation=True),
        _resource("resourcequotas", "ResourceQuota", short="quota", subresources=_STATUS),
        _resource("secrets", "Secret"),
        _resource("serviceaccounts", "ServiceAccount", short="sa", subresources=frozenset({"token"})),
        _resource("services", "Service", short="svc", all_=True, subresources=_STATUS),
    ]  # fmt: skip


def _workloads() -> list[Resource]:
    return [
        _resource("daemonsets", "DaemonSet", group="apps", short="ds", all_=True, subresources=_STATUS,
                  generation=True),
        _resource("deployments", "Deployment", group="apps", short="deploy", all_=True, subresources=_SCALED,
                  generation=True),
        _resource("replicasets", "ReplicaSet", group="apps", short="rs", all_=True, subresources=_SCALED,
                  generation=True),
        _resource("statefulsets", "StatefulSet", group="apps", short="sts", all_=True, subresources=_SCALED,
                  generation=True),
        _resource("controllerrevisions", "ControllerRevision", group="apps"),
        _resource("jobs", "Job", group="batch", all_=True, subresources=_STATUS, generation=True),
        _resource("cronjobs", "CronJob", group="batch", short="cj", all_=True, subresources=_STATUS,
                  generation=True),
        _resource("horizontalpodautoscalers", "HorizontalPodAutoscaler", group="autoscaling", version="v2",
                  short="hpa", all_=True, subresources=_STATUS),
        _resource("poddisruptionbudgets", "PodDisruptionBudget", group="policy", short="pdb",
                  subresources=_STATUS, generation=True),
        _resource("priorityclasses", "PriorityClass", group="scheduling.k8s.io", short="pc", namespaced=False),
    ]  # fmt: skip


def _cluster() -> list[Resource]:
    rbac = "rbac.authorization.k8s.io"
    return [
        _resource("customresourcedefinitions", "CustomResourceDefinition", group="apiextensions.k8s.io",
                  short="crd crds", namespaced=False, subresources=_STATUS, generation=True),
        _resource("leases", "Lease", group="coordination.k8s.io"),
        _resource("endpointslices", "EndpointSlice", group="discovery.k8s.io"),
        _resource("events", "Event", model="EventsV1Event", group="events.k8s.io", short="ev", storage=_EVENTS,
                  storage_version="v1"),
        _resource("ingresses", "Ingress", group="networking.k8s.io", short="ing", subresources=_STATUS,
                  generation=True),
        _resource("ingressclasses", "IngressClass", group="networking.k8s.io", namespaced=False,
                  generation=True),
        _resource("networkpolicies", "NetworkPolicy", group="networking.k8s.io", short="netpol",
                  generation=True),
        _resource("clusterroles", "ClusterRole", group=rbac, namespaced=False),
        _resource("clusterrolebindings", "ClusterRoleBinding", group=rbac, namespaced=False),
        _resource("roles", "Role", group=rbac),
        _resource("rolebindings", "RoleBinding", group=rbac),
        _resource("storageclasses", "StorageClass", group="storage.k8s.io", short="sc", namespaced=False),
    ]  # fmt: skip


def _devices() -> list[Resource]:
    group = "resource.k8s.io"
    return [
        _resource("deviceclasses", "DeviceClass", group=group, namespaced=False, generation=True),
        _resource("resourceclaims", "ResourceClaim", model="ResourceV1ResourceClaim", group=group,
                  subresources=_STATUS),
        _resource("resourceclaimtemplates", "ResourceClaimTemplate", group=group),
        _resource("resourceslices", "ResourceSlice", group=group, namespaced=False, generation=True),
    ]  # fmt: skip


def _reviews() -> list[Resource]:
    who, may = "authentication.k8s.io", "authorization.k8s.io"
    return [
        _resource("tokenreviews", "TokenReview", group=who, namespaced=False, verbs=_REVIEW),
        _resource("selfsubjectreviews", "SelfSubjectReview", group=who, namespaced=False, verbs=_REVIEW),
        _resource("subjectaccessreviews", "SubjectAccessReview", group=may, namespaced=False, verbs=_REVIEW),
        _resource("localsubjectaccessreviews", "LocalSubjectAccessReview", group=may, verbs=_REVIEW),
        _resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", group=may, namespaced=False,
                  verbs=_REVIEW),
        _resource("selfsubjectrulesreviews", "SelfSubjectRulesReview", group=may, namespaced=False,
                  verbs=_REVIEW),
    ]  # fmt: skip


def register_builtins(registry: Registry) -> None:
    """Enter every built-in resource."""
    for resource in (*_core(), *_workloads(), *_cluster(), *_devices(), *_reviews()):
        registry.add(resource)
