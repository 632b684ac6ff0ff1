"""The service account token that admission gives to each container of a pod, as a Kubernetes server does.

The pod decides by `automountServiceAccountToken`, else its service account does, else the token is mounted. A container
that mounts a separate volume at that path keeps it.
"""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.objects import Json, generated_suffix

VOLUME_PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_EXPIRATION_SECONDS = 3607
_DEFAULT_MODE = 0o644


def mount_api_access(spec: Json, account: Json) -> None:
    """Add the volume and its mounts to a new pod's spec, in place, unless pod or account opt out."""
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is False:
        return
    lacking = [container for container in _containers(spec) if not _has_own(container)]
    if not lacking:
        return
    name = VOLUME_PREFIX + generated_suffix()
    spec["volumes"] = [*(spec.get("volumes") or []), _volume(name)]
    for container in lacking:
        mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]


def _containers(spec: Json) -> list[Json]:
    listed = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return [container for container in listed if isinstance(container, dict)]


def _has_own(container: Json) -> bool:
    return any(mount.get("mountPath") == MOUNT_PATH for mount in container.get("volumeMounts") or ())


def _volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": _DEFAULT_MODE,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _EXPIRATION_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    }
