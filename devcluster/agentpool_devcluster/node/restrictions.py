"""Fields of a pod that a process on this host cannot honour. Pure.

Each field is refused by name, before anything starts: a pod never runs with less than requested. Confinement is the
exception: fields that only remove rights (`securityContext` and similar) cannot be enforced here, would stop most
charts from running, and lead to a single warning instead. The service account token that admission mounts into every
pod that has not opted out is left out: no program here finds the cluster by it, and the mount would slow every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VOLUMES = frozenset({"name", "emptyDir", "configMap", "secret", "downwardAPI", "projected", "hostPath"})
_PROJECTIONS = frozenset({"configMap", "secret", "downwardAPI", "serviceAccountToken"})
_DEFAULT_TOKEN = "kube-api-access-"  # noqa: S105 - the beginning of a volume's name
_PROBES = ("readinessProbe", "livenessProbe", "startupProbe")
_PRIVILEGES = ("privileged", "procMount", "windowsOptions")


def refusals(pod: Mapping[str, Any], *, mounts_supported: bool) -> list[str]:
    """Return the reasons against running the pod: a line for each field that cannot be honoured."""
    spec = pod["spec"]
    return [
        *_volume_refusals(spec),
        *_container_refusals(spec, mounts_supported=mounts_supported),
        *_pod_refusals(spec),
    ]


def wanted_mounts(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the container's mounts without the token that admission has added."""
    return [mount for mount in container.get("volumeMounts") or () if not is_default_token(mount)]


def is_default_token(named: Mapping[str, Any]) -> bool:
    """Return whether a volume, or its mount, is the token that admission adds."""
    return str(named.get("name")).startswith(_DEFAULT_TOKEN)


def has_mounts(pod: Mapping[str, Any]) -> bool:
    """Return whether any container of the pod mounts a volume."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return any(wanted_mounts(container) for container in containers)


def not_enforced(pod: Mapping[str, Any]) -> list[str]:
    """Return the fields that restrict the pod and are not enforced here."""
    spec = pod["spec"]
    fields = ["spec.securityContext"] if spec.get("securityContext") else []
    for index, container in enumerate(spec.get("containers") or ()):
        if container.get("securityContext"):
            fields.append(f"spec.containers[{index}].securityContext")
    return fields


def _volume_refusals(spec: Mapping[str, Any]) -> Iterator[str]:
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"spec.volumes[{index}]"
        for kind in volume:
            if kind not in _VOLUMES:
                yield f"{where}.{kind}: volumes of this kind are not supported by this node; use emptyDir or hostPath"
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            for kind in source:
                if kind not in _PROJECTIONS:
                    yield f"{where}.projected.sources[{number}].{kind}: not supported by this node"


def _container_refusals(spec: Mapping[str, Any], *, mounts_supported: bool) -> Iterator[str]:
    for section in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(section) or ()):
            where = f"spec.{section}[{index}]"
            if wanted_mounts(container) and not mounts_supported:
                yield f"{where}.volumeMounts: this host has no mount namespaces, so no volume can be shown at its path"
            if container.get("volumeDevices"):
                yield f"{where}.volumeDevices: block devices are not supported by this node"
            if container.get("tty") or container.get("stdin"):
                yield f"{where}.{'tty' if container.get('tty') else 'stdin'}: not supported by this node"
            for probe in _PROBES:
                if "grpc" in (container.get(probe) or {}):
                    yield f"{where}.{probe}.grpc: not supported by this node; use httpGet, tcpSocket or exec"
            context = container.get("securityContext") or {}
            for field in _PRIVILEGES:
                if context.get(field):
                    yield f"{where}.securityContext.{field}: a local process cannot be given it"


def _pod_refusals(spec: Mapping[str, Any]) -> Iterator[str]:
    if (spec.get("os") or {}).get("name") == "windows":
        yield "spec.os.name: windows: this node runs no Windows containers"
    if spec.get("hostUsers") is False:
        yield "spec.hostUsers: false: user namespaces are not supported by this node"
    if spec.get("resourceClaims"):
        yield "spec.resourceClaims: dynamic resource allocation is not supported by this node"
    if spec.get("runtimeClassName"):
        yield "spec.runtimeClassName: runtime classes are not supported by this node"
    if spec.get("ephemeralContainers"):
        yield "spec.ephemeralContainers: not supported by this node"
