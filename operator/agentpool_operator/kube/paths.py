"""Paths of the objects that only the operator uses; `agentpool_core.kube.paths` builds and checks all of them.

A function for each kind; without a name, the collection; without a namespace, all namespaces.
"""

from __future__ import annotations

from agentpool_core.kube.paths import CORE, agentpools, group, nodes, pods, resource, secret

__all__ = [
    "CORE",
    "agentpools",
    "deployments",
    "disruption_budgets",
    "events",
    "is_of_lease",
    "leases",
    "namespaces",
    "nodes",
    "pods",
    "resource",
    "secret",
]
LEASES = "coordination.k8s.io/v1"


def deployments(namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the path of Deployments."""
    return resource("apps/v1", "deployments", namespace=namespace, name=name, subresource=subresource)


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
    """Whether this is the path of a Lease."""
    return path.startswith(f"{group(LEASES)}/")
