"""Pods and pod templates: defaults and rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.objects import Json, clone
from agentpool_devcluster.kube.quantity import parse_quantity

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_DEFAULT_MODE = 0o644  # of files in secret, config map and projected volumes
_EVICTION_TOLERATION_SECONDS = 300  # a pod stays this long on a node that is not ready or unreachable
_NATIVE = ("cpu", "memory", "ephemeral-storage", "pods")
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates", "nodeName")


def default_pod_spec(spec: Json) -> None:
    """Fill in the defaults of a pod's or a template's spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    if not isinstance(spec.get("securityContext"), dict):
        spec["securityContext"] = {}
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in _objects(spec.get(field)):
            _default_container(container)
    for volume in _objects(spec.get("volumes")):
        _default_volume(volume)


def _objects(found: Any) -> list[Json]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _default_container(container: Json) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    if image:
        moving = tag in ("", "latest") and "@" not in image
        container.setdefault("imagePullPolicy", "Always" if moving else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if isinstance(resources, dict) and isinstance(resources.get("limits"), dict):
        requests = resources.setdefault("requests", {})
        for name, amount in resources["limits"].items():
            requests.setdefault(name, amount)
    for name in _PROBES:
        if isinstance(container.get(name), dict):
            _default_probe(container[name])
    for variable in _objects(container.get("env")):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")


def _default_probe(probe: Json) -> None:
    for name, value in (
        ("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3),
    ):  # fmt: skip
        probe.setdefault(name, value)
    if isinstance(probe.get("httpGet"), dict):
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")
    if isinstance(probe.get("grpc"), dict):
        probe["grpc"].setdefault("service", "")


def _default_volume(volume: Json) -> None:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", _DEFAULT_MODE)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if not set(volume) - {"name"}:
        volume["emptyDir"] = {}


def default_pod(body: Json) -> None:
    """Fill in the fields of a pod that a template lacks: service account, tolerations, priority, in place."""
    spec = body.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for condition in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{condition}"
        if not any(item.get("key") in (key, None) and _covers_no_execute(item) for item in _objects(tolerations)):
            tolerations.append({
                "key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": _EVICTION_TOLERATION_SECONDS,
            })  # fmt: skip


def _covers_no_execute(toleration: Json) -> bool:
    return toleration.get("effect") in ("NoExecute", "", None)


def initial_pod_status(spec: Json) -> Json:
    """Return the status of a pod that was just created."""
    return {"phase": "Pending", "qosClass": quality_of_service(spec)}


def quality_of_service(spec: Json) -> str:
    """Return the pod's quality-of-service class: Guaranteed, Burstable or BestEffort."""
    guaranteed, any_request = True, False
    for container in [*_objects(spec.get("containers")), *_objects(spec.get("initContainers"))]:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_request = any_request or any(name in limits or name in requests for name in ("cpu", "memory"))
        guaranteed = guaranteed and all(
            name in limits and requests.get(name, limits[name]) == limits[name] for name in ("cpu", "memory")
        )
    return "Guaranteed" if guaranteed and any_request else "Burstable" if any_request else "BestEffort"


def pod_spec_problems(spec: Json, path: str) -> Iterator[Cause]:
    """Yield the problems of a pod's or a template's spec."""
    containers = _objects(spec.get("containers"))
    if not containers:
        yield Cause(reason="FieldValueRequired", message="Required value", field=f"{path}.containers")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(_objects(spec.get(field))):
            yield from _container_problems(container, f"{path}.{field}[{index}]", names)


def _container_problems(container: Json, path: str, names: set[str]) -> Iterator[Cause]:
    name = container.get("name")
    if not name:
        yield Cause(reason="FieldValueRequired", message="Required value", field=f"{path}.name")
    elif name in names:
        yield Cause(reason="FieldValueDuplicate", message=f'Duplicate value: "{name}"', field=f"{path}.name")
    names.add(str(name))
    if not container.get("image"):
        yield Cause(reason="FieldValueRequired", message="Required value", field=f"{path}.image")
    yield from _resource_problems(container.get("resources") or {}, f"{path}.resources")


def _resource_problems(resources: Json, path: str) -> Iterator[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for place, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            try:
                value = parse_quantity(str(amount))
            except ValueError as error:
                yield _invalid(f"{path}.{place}[{name}]", amount, str(error))
                continue
            if _is_extended(name) and value != value.to_integral_value():
                yield _invalid(f"{path}.{place}[{name}]", amount, "must be an integer")
    for name, amount in requests.items():
        yield from _request_problem(name, amount, limits.get(name), f"{path}.requests")
    for name in requests.keys() - limits.keys():
        if _is_extended(name):
            message = "Limit must be set for non overcommitable resources"
            yield Cause(reason="FieldValueRequired", message=f"Required value: {message}", field=f"{path}.limits")


def _request_problem(name: str, amount: Any, limit: Any, path: str) -> Iterator[Cause]:
    if limit is None:
        return
    try:
        wanted, allowed = parse_quantity(str(amount)), parse_quantity(str(limit))
    except ValueError:
        return
    if _is_extended(name) and wanted != allowed:
        yield _invalid(path, amount, f"must be equal to {name} limit of {limit}")
    elif wanted > allowed:
        yield _invalid(path, amount, f"must be less than or equal to {name} limit of {limit}")


def _is_extended(name: str) -> bool:
    return name not in _NATIVE and "/" in name and "kubernetes.io/" not in name


def _invalid(path: str, value: Any, why: str) -> Cause:
    return Cause(reason="FieldValueInvalid", message=f'Invalid value: "{value}": {why}', field=path)


def pod_change_problems(new: Json, old: Json) -> Iterator[Cause]:
    """Yield a refusal if an update changes parts of a pod's spec that are fixed."""
    if _fixed_part(new) != _fixed_part(old):
        message = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)"
        )
        yield Cause(reason="FieldValueForbidden", message=message, field="spec")


def _fixed_part(body: Json) -> Json:
    spec: Json = clone({key: value for key, value in (body.get("spec") or {}).items() if key not in _MUTABLE})
    for field in ("initContainers", "containers"):
        for container in _objects(spec.get(field)):
            container.pop("image", None)
            container.pop("imagePullPolicy", None)
    return spec
