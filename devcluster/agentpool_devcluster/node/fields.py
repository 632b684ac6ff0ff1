"""Values of `fieldRef` and `resourceFieldRef`. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import annotations_of, labels_of
from agentpool_devcluster.kube.quantity import Amounts, amounts_of, parse_quantity
from agentpool_devcluster.node.errors import ContainerConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


@dataclass(frozen=True, kw_only=True, slots=True)
class PodPlace:
    """Place of a pod, known before its status contains it."""

    pod_ip: str
    host_ip: str
    node_name: str
    allocatable: Amounts  # the node's, which a missing limit stands for
    shared_address: bool = False  # all pods of the host have the same address
    ports: Mapping[int, int] = field(default_factory=dict)  # port of this host by the pod's own number


def pod_field(path: str, pod: Mapping[str, Any], place: PodPlace) -> str:
    """Return the value at a `fieldPath`. Raises ContainerConfigError for a path unknown to Kubernetes."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        source = labels_of(pod) if subscript.group(1) == "labels" else annotations_of(pod)
        return source.get(subscript.group(2), "")
    metadata = pod["metadata"]
    plain = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace") or "default",
        "metadata.uid": metadata.get("uid") or "",
        "metadata.labels": _listing(labels_of(pod)),
        "metadata.annotations": _listing(annotations_of(pod)),
        "spec.nodeName": place.node_name,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName") or "default",
        "status.podIP": place.pod_ip,
        "status.podIPs": place.pod_ip,
        "status.hostIP": place.host_ip,
        "status.hostIPs": place.host_ip,
    }
    if path not in plain:
        raise ContainerConfigError("CreateContainerConfigError", f"fieldPath {path!r} is not supported")
    return str(plain[path])


def resource_field(
    reference: Mapping[str, Any], container: Mapping[str, Any], pod: Mapping[str, Any], place: PodPlace
) -> str:
    """Return the value of a `resourceFieldRef`, in units of the divisor, rounded up."""
    name = reference.get("containerName")
    holder = container if not name else _container_named(pod, str(name))
    section, _, resource = str(reference["resource"]).partition(".")
    declared = holder.get("resources") or {}
    amounts = amounts_of(declared.get(section))
    if resource not in amounts and section == "requests":
        amounts = amounts_of(declared.get("limits"))
    amount = amounts.get(resource)
    if amount is None:
        amount = place.allocatable.get(resource, parse_quantity(0)) if section == "limits" else parse_quantity(0)
    divisor = parse_quantity(reference.get("divisor") or "1")
    return str(math.ceil(amount / (divisor or 1)))


def _container_named(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    spec = pod["spec"]
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        if container["name"] == name:
            found: Mapping[str, Any] = container
            return found
    raise ContainerConfigError("CreateContainerConfigError", f"resourceFieldRef names no container {name!r} of the pod")


def _listing(values: Mapping[str, str]) -> str:
    """Render labels or annotations as in a downward API file."""
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in values.items()
    }
    return "".join(f'{name}="{value}"\n' for name, value in sorted(escaped.items()))
