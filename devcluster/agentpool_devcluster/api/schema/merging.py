"""Merge rules of the lists and maps of built-in types, which the client's models lack.

Published in the Kubernetes OpenAPI document as x-kubernetes-list-type, -list-map-keys, -map-type, -patch-strategy and
-patch-merge-key. Unlisted lists are atomic, unlisted maps granular. `schema.builtin` reads these tables while building
a type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentpool_devcluster.api.schema.node import ListType


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMerge:
    """Merge rule of a list."""

    list_type: ListType = "map"  # for server-side apply
    keys: tuple[str, ...] = ()  # fields that identify an element
    strategy: tuple[str, ...] = ("merge",)  # for strategic merge patch
    defaults: tuple[tuple[str, str], ...] = ()  # value of a key field that is left out

    @property
    def patch_key(self) -> str:
        """Return the key of strategic merge patches: the first key."""
        return self.keys[0] if self.keys else ""


def _by(*keys: str, **defaults: str) -> ListMerge:
    return ListMerge(keys=keys, defaults=tuple(defaults.items()))


_BY_TYPE = _by("type")
_BY_NAME = _by("name")
_SET = ListMerge(list_type="set", strategy=())
_PORTS = _by("containerPort", "protocol", protocol="TCP")
_RETAINED_BY_NAME = ListMerge(keys=("name",), strategy=("merge", "retainKeys"))

# Type without version prefix, then field.
LISTS: Mapping[tuple[str, str], ListMerge] = {
    ("ObjectMeta", "finalizers"): ListMerge(list_type="set"),
    ("ObjectMeta", "ownerReferences"): _by("uid"),
    ("PodSpec", "containers"): _BY_NAME,
    ("PodSpec", "initContainers"): _BY_NAME,
    ("PodSpec", "ephemeralContainers"): _BY_NAME,
    ("PodSpec", "hostAliases"): _by("ip"),
    ("PodSpec", "imagePullSecrets"): _BY_NAME,
    ("PodSpec", "resourceClaims"): _RETAINED_BY_NAME,
    ("PodSpec", "schedulingGates"): _BY_NAME,
    ("PodSpec", "topologySpreadConstraints"): _by("topologyKey", "whenUnsatisfiable"),
    ("PodSpec", "volumes"): _RETAINED_BY_NAME,
    ("PodStatus", "hostIPs"): ListMerge(list_type="atomic", keys=("ip",)),
    ("PodStatus", "podIPs"): _by("ip"),
    ("PodStatus", "resourceClaimStatuses"): _RETAINED_BY_NAME,
    ("Container", "env"): _BY_NAME,
    ("Container", "ports"): _PORTS,
    ("Container", "volumeDevices"): _by("devicePath"),
    ("Container", "volumeMounts"): _by("mountPath"),
    ("EphemeralContainer", "env"): _BY_NAME,
    ("EphemeralContainer", "ports"): _PORTS,
    ("EphemeralContainer", "volumeDevices"): _by("devicePath"),
    ("EphemeralContainer", "volumeMounts"): _by("mountPath"),
    ("ContainerStatus", "allocatedResourcesStatus"): _BY_NAME,
    ("ContainerStatus", "volumeMounts"): _by("mountPath"),
    ("ResourceRequirements", "claims"): ListMerge(keys=("name",), strategy=()),
    ("NodeSpec", "podCIDRs"): ListMerge(list_type="set"),
    ("NodeStatus", "addresses"): _BY_TYPE,
    ("ServiceAccount", "secrets"): _BY_NAME,
    ("ServiceSpec", "ports"): _by("port", "protocol", protocol="TCP"),
    ("JobStatus", "conditions"): ListMerge(list_type="atomic", keys=("type",)),
    ("Endpoint", "addresses"): _SET,
    ("CSIDriverSpec", "volumeLifecycleModes"): _SET,
    ("CSINodeSpec", "drivers"): _BY_NAME,
    ("UncountedTerminatedPods", "failed"): _SET,
    ("UncountedTerminatedPods", "succeeded"): _SET,
    ("PodFailurePolicyOnExitCodesRequirement", "values"): _SET,
    ("CustomResourceDefinitionStatus", "conditions"): ListMerge(keys=("type",), strategy=()),
    ("JSONSchemaProps", "x-kubernetes-validations"): _by("rule"),
    ("MutatingWebhookConfiguration", "webhooks"): _BY_NAME,
    ("ValidatingWebhookConfiguration", "webhooks"): _BY_NAME,
    ("MutatingWebhook", "matchConditions"): _BY_NAME,
    ("ValidatingWebhook", "matchConditions"): _BY_NAME,
    **{
        (status, "conditions"): _BY_TYPE
        for status in (
            "DaemonSetStatus", "DeploymentStatus", "ReplicaSetStatus", "StatefulSetStatus", "NamespaceStatus",
            "NodeStatus", "PersistentVolumeClaimStatus", "PodStatus", "ReplicationControllerStatus",
            "ServiceStatus", "PodDisruptionBudgetStatus", "HorizontalPodAutoscalerStatus",
        )
    },
}  # fmt: skip

# Types that are owned as a whole wherever they stand.
ATOMIC_TYPES = frozenset({
    "ConfigMapKeySelector", "EndpointAddress", "EndpointPort", "DiscoveryV1EndpointPort", "CoreV1EndpointPort",
    "FileKeySelector", "LabelSelector", "LocalObjectReference", "MatchResources", "NodeSelector",
    "NodeSelectorTerm", "ObjectFieldSelector", "ObjectReference", "OwnerReference", "ResourceFieldSelector",
    "RoleRef", "ScopeSelector", "SecretKeySelector", "SecretReference", "ServiceBackendPort", "Subject",
    "RbacV1Subject", "TopologySelectorTerm", "TypedLocalObjectReference",
})  # fmt: skip

# Maps that are owned as a whole.
ATOMIC_MAPS = frozenset({
    ("PodSpec", "nodeSelector"), ("ServiceSpec", "selector"), ("ReplicationControllerSpec", "selector"),
})  # fmt: skip

# Objects with a strategic merge strategy of their own.
STRATEGIES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("DeploymentSpec", "strategy"): ("retainKeys",),
    ("PodDisruptionBudgetSpec", "selector"): ("replace",),
}

# Resource quantities, or maps of them.
QUANTITIES = frozenset({
    ("ContainerStatus", "allocatedResources"), ("EmptyDirVolumeSource", "sizeLimit"),
    ("LimitRangeItem", "default"), ("LimitRangeItem", "defaultRequest"), ("LimitRangeItem", "max"),
    ("LimitRangeItem", "maxLimitRequestRatio"), ("LimitRangeItem", "min"), ("NodeStatus", "allocatable"),
    ("NodeStatus", "capacity"), ("PersistentVolumeClaimStatus", "allocatedResources"),
    ("PersistentVolumeClaimStatus", "capacity"), ("PersistentVolumeSpec", "capacity"), ("PodSpec", "overhead"),
    ("PodStatus", "allocatedResources"), ("ResourceFieldSelector", "divisor"), ("ResourceQuotaSpec", "hard"),
    ("ResourceQuotaStatus", "hard"), ("ResourceQuotaStatus", "used"), ("ResourceRequirements", "limits"),
    ("ResourceRequirements", "requests"), ("VolumeResourceRequirements", "limits"),
    ("VolumeResourceRequirements", "requests"),
})  # fmt: skip
