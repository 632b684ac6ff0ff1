"""Serve custom resources while their CustomResourceDefinition is stored.

Listens to the store: a definition is accepted and its resources are registered in the transaction that writes the
definition, so a client that reads the definition back finds it Established.
"""

from __future__ import annotations

from agentpool_devcluster.api.kinds.definitions import resources_of
from agentpool_devcluster.api.objects import Json, clone, dig, is_terminating, metadata, timestamp
from agentpool_devcluster.api.operations.cluster import Cluster
from agentpool_devcluster.api.store import Change, CollectionKey, ObjectKey

DEFINITIONS = CollectionKey("apiextensions.k8s.io", "customresourcedefinitions")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"  # finalizer: objects go before their definition


class DefinitionService:
    """Keeps the registry in step with the stored definitions."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.store.listen(self._on_change)

    def _on_change(self, key: CollectionKey, change: Change) -> None:
        if key != DEFINITIONS:
            return
        body = change.stored.body
        group, plural = str(dig(body, "spec", "group")), str(dig(body, "spec", "names", "plural"))
        if change.kind == "DELETED":
            self._cluster.registry.remove(group, plural)
            return
        if change.previous is None or change.previous.body.get("spec") != body.get("spec"):
            self._cluster.registry.remove(group, plural)
            for resource in resources_of(body):
                self._cluster.registry.add(resource)
        accepted = _accepted(body)
        if accepted != body:
            self._cluster.store.put(ObjectKey(DEFINITIONS, "", str(metadata(body)["name"])), accepted)


def _accepted(body: Json) -> Json:
    """Return the definition with accepted names, conditions and cleanup finalizer."""
    new: Json = clone(body)
    status = new.setdefault("status", {})
    status["acceptedNames"] = clone(dig(body, "spec", "names"))
    stored = [version["name"] for version in body["spec"]["versions"] if version.get("storage")]
    known = status.get("storedVersions") or []
    status["storedVersions"] = known + [name for name in stored if name not in known]
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    for kind, reason, message in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        conditions.setdefault(kind, {
            "type": kind, "status": "True", "lastTransitionTime": timestamp(), "reason": reason,
            "message": message,
        })  # fmt: skip
    status["conditions"] = list(conditions.values())
    finalizers = metadata(new).get("finalizers") or []
    if not is_terminating(new) and CLEANUP not in finalizers:
        new["metadata"]["finalizers"] = [*finalizers, CLEANUP]
    return new
