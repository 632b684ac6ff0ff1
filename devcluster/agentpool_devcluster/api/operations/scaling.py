"""The scale subresource: an autoscaling/v1 Scale as a view of the parent's replicas."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.apply.managers import apply_configuration, read_managers
from agentpool_devcluster.api.errors import Cause, Subject, bad_request, invalid
from agentpool_devcluster.api.objects import Json, clone, dig, metadata, name_of
from agentpool_devcluster.api.operations.cluster import Cluster, WriteOptions, Written
from agentpool_devcluster.api.operations.patches import PatchType
from agentpool_devcluster.api.operations.versions import shown_as
from agentpool_devcluster.api.operations.writes import finish
from agentpool_devcluster.api.patch.json_patch import json_patch
from agentpool_devcluster.api.patch.merge_patch import merge_patch
from agentpool_devcluster.api.registry import Resource, ScalePaths
from agentpool_devcluster.api.selectors import selector_text


def _steps(path: str) -> list[str]:
    return path.strip(".").split(".")


def _paths(resource: Resource) -> ScalePaths:
    return resource.scale or ScalePaths()


def scale_of(resource: Resource, body: Json) -> Json:
    """Return the Scale object of an object."""
    paths = _paths(resource)
    meta = {
        key: metadata(body)[key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in metadata(body)
    }
    status: Json = {"replicas": dig(body, *_steps(paths.status)) or 0}
    if paths.selector is None:
        selector = selector_text(dig(body, "spec", "selector"))
    else:
        selector = str(dig(body, *_steps(paths.selector)) or "") if paths.selector else ""
    if selector:
        status["selector"] = selector
    wanted = dig(body, *_steps(paths.spec))
    spec = {"replicas": wanted} if wanted is not None else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


def read_scale(cluster: Cluster, resource: Resource, namespace: str, name: str) -> Json:
    """Return an object's Scale. Raises the 404 refusal if there is no such object."""
    return scale_of(resource, shown_as(resource, cluster.read(resource, namespace, name).body))


def write_scale(
    cluster: Cluster,
    resource: Resource,
    namespace: str,
    name: str,
    *,
    body: Any,
    options: WriteOptions,
    kind: PatchType | None = None,
) -> Written:
    """Set an object's replicas from a whole Scale (kind None) or a patch."""
    old = cluster.read(resource, namespace, name)
    before = clone(shown_as(resource, old.body))
    current = scale_of(resource, before)
    if kind is PatchType.APPLY:
        wanted = _wanted(body, name)
        config = _with_replicas({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}},
                                resource, wanted)  # fmt: skip
        applied = apply_configuration(
            before, config, resource.schema(), options.writer, read_managers(before), force=options.force
        )
        applied.body["metadata"].pop("resourceVersion", None)
        return finish(cluster, resource, old, applied.body, options=options, managers=applied.managers)
    if kind is None:
        scale = body
    else:
        scale = json_patch(current, body) if kind is PatchType.JSON else merge_patch(current, body)
    new = _with_replicas(before, resource, _wanted(scale, name))
    version = metadata(scale).get("resourceVersion")
    if version and (kind is None or version != current["metadata"]["resourceVersion"]):
        new["metadata"]["resourceVersion"] = version
    return finish(cluster, resource, old, new, options=options)


def _wanted(scale: Any, name: str) -> int:
    if not isinstance(scale, dict) or not isinstance(scale.get("spec", {}), dict):
        raise bad_request("expected a Scale object")
    if name_of(scale) and name_of(scale) != name:
        raise bad_request(f"the name of the Scale ({name_of(scale)}) does not match the URL ({name})")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request(f"spec.replicas must be a whole number, got {replicas!r}")
    if replicas < 0:
        cause = Cause(
            reason="FieldValueInvalid",
            message=f"Invalid value: {replicas}: must be greater than or equal to 0",
            field="spec.replicas",
        )
        raise invalid(Subject(group="autoscaling", kind="Scale", name=name), [cause])
    return replicas


def _with_replicas(body: Json, resource: Resource, replicas: int) -> Json:
    *parents, last = _steps(_paths(resource).spec)
    place = body
    for step in parents:
        place = place.setdefault(step, {})
    place[last] = replicas
    return body
