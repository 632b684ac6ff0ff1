"""The default namespaces, and the default objects of a new namespace."""

from __future__ import annotations

from agentpool_devcluster.api.apply.managers import Writer
from agentpool_devcluster.api.objects import Json, clone, name_of
from agentpool_devcluster.api.operations.cluster import NAMESPACES, Cluster, WriteOptions
from agentpool_devcluster.api.operations.writes import create
from agentpool_devcluster.api.store import Change, CollectionKey, ObjectKey

INITIAL = ("default", "kube-system", "kube-public", "kube-node-lease")
_OPTIONS = WriteOptions(writer=Writer(name="devcluster", api_version="v1"))
_CLASSES = (("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000))


class NamespaceService:
    """Creates the default service account of every new namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.store.listen(self._on_change)

    def prepare(self, uid: str | None = None) -> None:
        """Create the objects of a fresh cluster; a uid of kube-system identifies the cluster to its clients."""
        for name in INITIAL:
            self._create("", "v1", "namespaces", "", {"metadata": {"name": name}})
        if uid is not None:
            self._identify(uid)
        for name, value in _CLASSES:
            body = {"metadata": {"name": name}, "value": value, "description": "Used by the cluster itself."}
            self._create("scheduling.k8s.io", "v1", "priorityclasses", "", body)

    def _on_change(self, key: CollectionKey, change: Change) -> None:
        if key == NAMESPACES and change.kind == "ADDED":
            body = {"metadata": {"name": "default"}}
            self._create("", "v1", "serviceaccounts", name_of(change.stored.body), body)

    def _identify(self, uid: str) -> None:
        key = ObjectKey(NAMESPACES, "", "kube-system")
        if (stored := self._cluster.store.get(key)) is not None:
            body: Json = clone(stored.body)
            body["metadata"]["uid"] = uid
            self._cluster.store.put(key, body)

    def _create(self, group: str, version: str, plural: str, namespace: str, body: Json) -> None:
        resource = self._cluster.registry.find(group, version, plural)
        if resource is not None:
            create(self._cluster, resource, namespace, body, options=_OPTIONS)
