"""The object types that the controllers and the node use, and their API paths."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from agentpool_devcluster.kube.errors import NameRefusedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """A resource type of the API."""

    group: str  # API group; empty for the core group
    version: str  # version within the group
    plural: str  # name in paths
    kind: str  # name in objects
    namespaced: bool = True  # whether objects live in a namespace

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of objects of this type."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection, of an object, or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(_segment(part) for part in parts)


def _segment(text: str) -> str:
    """Return the text as one segment of a path. Raises NameRefusedError for text that would lead elsewhere."""
    unsafe = text in {"", ".", ".."} or any(c in "/\\" or not c.isprintable() for c in text)
    if unsafe:
        raise NameRefusedError(text)
    return quote(text, safe="")


PODS = Resource(group="", version="v1", plural="pods", kind="Pod")
EVENTS = Resource(group="", version="v1", plural="events", kind="Event")
SECRETS = Resource(group="", version="v1", plural="secrets", kind="Secret")
CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
SERVICE_ACCOUNTS = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
NAMESPACES = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
NODES = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
DEPLOYMENTS = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
REPLICA_SETS = Resource(group="apps", version="v1", plural="replicasets", kind="ReplicaSet")
DISRUPTION_BUDGETS = Resource(group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget")
STATEFUL_SETS = Resource(group="apps", version="v1", plural="statefulsets", kind="StatefulSet")
