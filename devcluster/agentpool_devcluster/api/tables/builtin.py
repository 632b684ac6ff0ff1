"""The columns of built-in resources, as kubectl users know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentpool_devcluster.api.objects import Json, dig, metadata, parse_timestamp
from agentpool_devcluster.api.selectors import selector_text
from agentpool_devcluster.api.tables.ages import age_of, duration_text
from agentpool_devcluster.api.tables.pods import pod_phase, pod_ready, pod_restarts

_NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Cell:
    """A column: heading and reader."""

    name: str
    value: Callable[[Json], Any]
    type: str = "string"  # string, integer, number, boolean
    priority: int = 0  # above 0: only with -o wide
    description: str = ""


def _at(*path: str, default: Any = _NONE) -> Callable[[Json], Any]:
    def read(body: Json) -> Any:
        found = dig(body, *path)
        return default if found in (None, "") else found

    return read


def _count(*path: str) -> Callable[[Json], Any]:
    return lambda body: len(dig(body, *path) or ())


def _wide(name: str, value: Callable[[Json], Any]) -> Cell:
    return Cell(name, value, priority=1)


def _number(name: str, *path: str) -> Cell:
    return Cell(name, _at(*path, default=0), type="integer")


def _containers(field: str, *path: str) -> Callable[[Json], str]:
    def read(body: Json) -> str:
        found = dig(body, *path) or []
        return ",".join(str(item.get(field, "")) for item in found) or _NONE

    return read


_NAME = Cell("Name", _at("metadata", "name", default=""))
_AGE = Cell("Age", age_of)
_TEMPLATE = ("spec", "template", "spec", "containers")
_SELECTOR = _wide("Selector", lambda body: selector_text(dig(body, "spec", "selector")) or _NONE)
_IMAGES = (_wide("Containers", _containers("name", *_TEMPLATE)), _wide("Images", _containers("image", *_TEMPLATE)))


def _node_status(body: Json) -> str:
    conditions = dig(body, "status", "conditions") or []
    ready = next((item for item in conditions if item.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if dig(body, "spec", "unschedulable") else text


def _node_roles(body: Json) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = metadata(body).get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or _NONE


def _node_address(kind: str) -> Callable[[Json], str]:
    def read(body: Json) -> str:
        found = dig(body, "status", "addresses") or []
        return next((str(item.get("address")) for item in found if item.get("type") == kind), _NONE)

    return read


def _since(*paths: tuple[str, ...]) -> Callable[[Json], str]:
    def read(body: Json) -> str:
        moments = (parse_timestamp(dig(body, *path)) for path in paths)
        first = next((moment for moment in moments if moment), None)
        return duration_text(first) if first else "<unknown>"

    return read


_LAST_SEEN = _since(("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("firstTimestamp",),
                    ("metadata", "creationTimestamp"))  # fmt: skip


def _event_object(body: Json) -> str:
    found = body.get("involvedObject") or body.get("regarding") or {}
    return f"{str(found.get('kind', '')).lower()}/{found.get('name', '')}"


def _event_source(body: Json) -> str:
    source = body.get("source") or body.get("deprecatedSource") or {}
    names = [source.get("component") or body.get("reportingComponent") or body.get("reportingController") or ""]
    return ", ".join(filter(None, [*names, source.get("host")]))


def _event_text(body: Json) -> str:
    return str(body.get("message") or body.get("note") or "").strip()


def _ports(body: Json) -> str:
    found = dig(body, "spec", "ports") or []
    texts = [
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in found
    ]
    return ",".join(texts) or _NONE


def _labels(*path: str) -> Callable[[Json], str]:
    return lambda body: ",".join(f"{key}={value}" for key, value in sorted((dig(body, *path) or {}).items())) or _NONE


_EVENT: Sequence[Cell] = (
    Cell("Last Seen", _LAST_SEEN),
    Cell("Type", _at("type", default="")),
    Cell("Reason", _at("reason", default="")),
    Cell("Object", _event_object),
    _wide("Source", _event_source),
    Cell("Message", _event_text),
    _wide("First Seen", _since(("firstTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))),
    _wide("Count", lambda body: body.get("count") or dig(body, "series", "count") or 1),
    _wide("Name", _at("metadata", "name", default="")),
)
_ROLE_BINDING: Sequence[Cell] = (
    _NAME,
    Cell("Role", lambda body: f"{dig(body, 'roleRef', 'kind')}/{dig(body, 'roleRef', 'name')}"),
    _AGE,
)
_CREATED: Sequence[Cell] = (_NAME, Cell("Created At", _at("metadata", "creationTimestamp")))

CELLS: Mapping[tuple[str, str], Sequence[Cell]] = {
    ("", "Pod"): (
        _NAME,
        Cell("Ready", pod_ready),
        Cell("Status", pod_phase),
        Cell("Restarts", pod_restarts),
        _AGE,
        _wide("IP", _at("status", "podIP")),
        _wide("Node", _at("spec", "nodeName")),
        _wide("Nominated Node", _at("status", "nominatedNodeName")),
        _wide("Readiness Gates", lambda _body: _NONE),
    ),
    ("", "Node"): (
        _NAME,
        Cell("Status", _node_status),
        Cell("Roles", _node_roles),
        _AGE,
        Cell("Version", _at("status", "nodeInfo", "kubeletVersion", default="")),
        _wide("Internal-IP", _node_address("InternalIP")),
        _wide("External-IP", _node_address("ExternalIP")),
        _wide("OS-Image", _at("status", "nodeInfo", "osImage", default="<unknown>")),
        _wide("Kernel-Version", _at("status", "nodeInfo", "kernelVersion", default="<unknown>")),
        _wide("Container-Runtime", _at("status", "nodeInfo", "containerRuntimeVersion", default="<unknown>")),
    ),
    ("", "Namespace"): (_NAME, Cell("Status", _at("status", "phase", default="")), _AGE),
    ("", "ConfigMap"): (
        _NAME,
        Cell("Data", lambda body: len(body.get("data") or {}) + len(body.get("binaryData") or {}), type="integer"),
        _AGE,
    ),
    ("", "Secret"): (
        _NAME,
        Cell("Type", _at("type", default="")),
        Cell("Data", _count("data"), type="integer"),
        _AGE,
    ),
    ("", "ServiceAccount"): (_NAME, Cell("Secrets", _count("secrets"), type="integer"), _AGE),
    ("", "Service"): (
        _NAME,
        Cell("Type", _at("spec", "type", default="")),
        Cell("Cluster-IP", _at("spec", "clusterIP")),
        Cell("External-IP", lambda _body: _NONE),
        Cell("Port(s)", _ports),
        _AGE,
        _wide("Selector", _labels("spec", "selector")),
    ),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
    ("apps", "Deployment"): (
        _NAME,
        Cell("Ready", lambda body: f"{dig(body, 'status', 'readyReplicas') or 0}/{dig(body, 'spec', 'replicas') or 0}"),
        _number("Up-to-date", "status", "updatedReplicas"),
        _number("Available", "status", "availableReplicas"),
        _AGE,
        *_IMAGES,
        _SELECTOR,
    ),
    ("apps", "ReplicaSet"): (
        _NAME,
        _number("Desired", "spec", "replicas"),
        _number("Current", "status", "replicas"),
        _number("Ready", "status", "readyReplicas"),
        _AGE,
        *_IMAGES,
        _SELECTOR,
    ),
    ("apps", "StatefulSet"): (
        _NAME,
        Cell("Ready", lambda body: f"{dig(body, 'status', 'readyReplicas') or 0}/{dig(body, 'spec', 'replicas') or 0}"),
        _AGE,
        *_IMAGES,
    ),
    ("apps", "DaemonSet"): (
        _NAME,
        _number("Desired", "status", "desiredNumberScheduled"),
        _number("Current", "status", "currentNumberScheduled"),
        _number("Ready", "status", "numberReady"),
        _number("Up-to-date", "status", "updatedNumberScheduled"),
        _number("Available", "status", "numberAvailable"),
        _AGE,
        *_IMAGES,
        _SELECTOR,
    ),
    ("batch", "Job"): (
        _NAME,
        Cell(
            "Completions",
            lambda body: f"{dig(body, 'status', 'succeeded') or 0}/{dig(body, 'spec', 'completions') or 1}",
        ),
        _AGE,
    ),
    ("policy", "PodDisruptionBudget"): (
        _NAME,
        Cell("Min Available", _at("spec", "minAvailable", default="N/A")),
        Cell("Max Unavailable", _at("spec", "maxUnavailable", default="N/A")),
        _number("Allowed Disruptions", "status", "disruptionsAllowed"),
        _AGE,
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): (
        _NAME,
        Cell(
            "Reference",
            lambda body: f"{dig(body, 'spec', 'scaleTargetRef', 'kind')}/{dig(body, 'spec', 'scaleTargetRef', 'name')}",
        ),
        _number("MinPods", "spec", "minReplicas"),
        _number("MaxPods", "spec", "maxReplicas"),
        _number("Replicas", "status", "currentReplicas"),
        _AGE,
    ),
    ("coordination.k8s.io", "Lease"): (_NAME, Cell("Holder", _at("spec", "holderIdentity", default="")), _AGE),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _CREATED,
    ("rbac.authorization.k8s.io", "Role"): _CREATED,
    ("rbac.authorization.k8s.io", "ClusterRole"): _CREATED,
    ("rbac.authorization.k8s.io", "RoleBinding"): _ROLE_BINDING,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _ROLE_BINDING,
    ("scheduling.k8s.io", "PriorityClass"): (
        _NAME,
        _number("Value", "value"),
        Cell("Global-Default", _at("globalDefault", default=False), type="boolean"),
        _AGE,
        Cell("PreemptionPolicy", _at("preemptionPolicy")),
    ),
    ("networking.k8s.io", "NetworkPolicy"): (
        _NAME,
        Cell("Pod-Selector", lambda body: selector_text(dig(body, "spec", "podSelector")) or _NONE),
        _AGE,
    ),
    ("discovery.k8s.io", "EndpointSlice"): (
        _NAME,
        Cell("AddressType", _at("addressType", default="")),
        Cell("Ports", lambda body: ",".join(str(port.get("port")) for port in body.get("ports") or ()) or "<unset>"),
        Cell(
            "Endpoints",
            lambda body: (
                ",".join(a for e in body.get("endpoints") or () for a in e.get("addresses") or ()) or "<unset>"
            ),
        ),
        _AGE,
    ),
}
