"""Paths on the Kubernetes API. No other module of the product builds a path.

Names come from resources, requests, flags and logs of workers, and an HTTP client resolves `..` before it sends a
request: `secrets/../../victim/secrets/key` would read a different namespace. So every segment of a path is checked and
percent-encoded here, regardless of earlier checks. A function for each kind: without a name, the collection; without a
namespace, all namespaces. `agentpool_core.kube.client` sends the requests.
"""

from __future__ import annotations

from urllib.parse import quote

from agentpool_core.errors import SettingError
from agentpool_core.spec.pool import API_VERSION, PLURAL

CORE = "v1"  # apiVersion of the core group, which has no name
DEVICES = "resource.k8s.io/v1"
LEASES = "coordination.k8s.io/v1"


def group(api_version: str) -> str:
    """Return the path below which all objects of an apiVersion are, such as `/apis/apps/v1`."""
    root = "api" if api_version == CORE else "apis"
    return "".join(f"/{segment('apiVersion', part)}" for part in (root, *api_version.split("/")))


def resource(
    api_version: str,
    plural: str,
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """Return the path of a collection, of its object `name`, or of that object's subresource.

    Without a namespace it is the path of a cluster-wide object, or of the collection in all namespaces. Raises
    SettingError for a text that cannot be a segment of a path.
    """
    parts = [("resource", plural)]
    if namespace is not None:
        parts = [("resource", "namespaces"), ("namespace", namespace), *parts]
    if name is not None:
        parts.append((f"name in {plural}", name))
    if subresource is not None:
        parts.append(("subresource", subresource))
    return group(api_version) + "".join(f"/{segment(field, part)}" for field, part in parts)


def segment(field: str, text: str) -> str:
    """Return the text as a percent-encoded segment of a path.

    Raises SettingError naming the field if the text is empty, `.` or `..`, or contains a slash or an unprintable
    character (control characters, half of a surrogate pair): no object of Kubernetes has such a name.
    """
    if text in {"", ".", ".."} or any(c in "/\\" or not c.isprintable() for c in text):
        raise SettingError(
            field=field,
            value=text,
            problem="no object of Kubernetes can have this name",
            remedy="use the object's own name, without '/', control characters, or '.' and '..' alone",
        )
    return quote(text, safe="")


def agentpools(namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the path of AgentPools."""
    return resource(API_VERSION, PLURAL, namespace=namespace, name=name, subresource=subresource)


def nodes(name: str | None = None) -> str:
    """Return the path of nodes."""
    return resource(CORE, "nodes", name=name)


def resource_slices() -> str:
    """Return the path of ResourceSlices."""
    return resource(DEVICES, "resourceslices")


def device_classes() -> str:
    """Return the path of DeviceClasses."""
    return resource(DEVICES, "deviceclasses")


def resource_claims() -> str:
    """Return the path of the ResourceClaims of all namespaces."""
    return resource(DEVICES, "resourceclaims")


def resource_claim_templates() -> str:
    """Return the path of the ResourceClaimTemplates of all namespaces."""
    return resource(DEVICES, "resourceclaimtemplates")


def pods(namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the path of pods."""
    return resource(CORE, "pods", namespace=namespace, name=name, subresource=subresource)


def secret(namespace: str, name: str) -> str:
    """Return the path of a Secret; Secrets are never listed."""
    return resource(CORE, "secrets", namespace=namespace, name=name)


def definition(name: str) -> str:
    """Return the path of a CustomResourceDefinition."""
    return resource("apiextensions.k8s.io/v1", "customresourcedefinitions", name=name)


def deployments(namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the path of Deployments."""
    return resource("apps/v1", "deployments", namespace=namespace, name=name, subresource=subresource)


def replica_sets(namespace: str, name: str) -> str:
    """Return the path of a ReplicaSet."""
    return resource("apps/v1", "replicasets", namespace=namespace, name=name)


def disruption_budgets(namespace: str, name: str) -> str:
    """Return the path of a PodDisruptionBudget."""
    return resource("policy/v1", "poddisruptionbudgets", namespace=namespace, name=name)


def namespaces(name: str | None = None) -> str:
    """Return the path of Namespaces."""
    return resource(CORE, "namespaces", name=name)


def events(namespace: str, name: str | None = None) -> str:
    """Return the path of Events."""
    return resource(CORE, "events", namespace=namespace, name=name)


def leases(namespace: str, name: str | None = None) -> str:
    """Return the path of Leases."""
    return resource(LEASES, "leases", namespace=namespace, name=name)


def is_of_lease(path: str) -> bool:
    """Return whether this is the path of a Lease."""
    return path.startswith(f"{group(LEASES)}/")
