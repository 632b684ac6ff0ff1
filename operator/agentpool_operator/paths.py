"""Where objects are on the Kubernetes API.

One function for each kind; without a name, the collection; without a namespace, all namespaces.
"""

from __future__ import annotations

from agentpool.spec import GROUP, PLURAL, VERSION


def _path(root: str, namespace: str | None, plural: str, name: str | None) -> str:
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{middle}/{plural}" + (f"/{name}" if name else "")


def agentpools(namespace: str | None = None, name: str | None = None) -> str:
    """AgentPools."""
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, PLURAL, name)


def deployments(namespace: str | None = None, name: str | None = None) -> str:
    """Deployments."""
    return _path("/apis/apps/v1", namespace, "deployments", name)


def disruption_budgets(namespace: str, name: str) -> str:
    """PodDisruptionBudgets."""
    return _path("/apis/policy/v1", namespace, "poddisruptionbudgets", name)


def pods(namespace: str | None = None, name: str | None = None) -> str:
    """Pods."""
    return _path("/api/v1", namespace, "pods", name)


def nodes(name: str | None = None) -> str:
    """Nodes."""
    return _path("/api/v1", None, "nodes", name)


def secrets(namespace: str, name: str) -> str:
    """Secrets, one at a time: the operator never lists them."""
    return _path("/api/v1", namespace, "secrets", name)


def events(namespace: str, name: str | None = None) -> str:
    """Events."""
    return _path("/api/v1", namespace, "events", name)


def leases(namespace: str, name: str | None = None) -> str:
    """Leases."""
    return _path("/apis/coordination.k8s.io/v1", namespace, "leases", name)
