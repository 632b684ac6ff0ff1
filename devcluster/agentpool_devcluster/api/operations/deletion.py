"""Delete: preconditions, grace periods, finalizers, and the treatment of dependents.

An object with finalizers or a grace period is marked; the owner of the finalizer, the node for pods, or the garbage
collector finishes the deletion. All remaining objects go at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from agentpool_devcluster.api.errors import bad_request, conflict, forbidden
from agentpool_devcluster.api.objects import Json, clone, dig, metadata, timestamp
from agentpool_devcluster.api.operations.cluster import NAMESPACES, Cluster
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Stored

Propagation = Literal["Background", "Foreground", "Orphan"]
FOREGROUND = "foregroundDeletion"  # finalizer: dependents go first
ORPHAN = "orphan"  # finalizer: dependents are let go
IMMORTAL = ("default", "kube-system", "kube-public")  # namespaces, as in Kubernetes
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How an object is to be deleted."""

    grace_s: int | None = None  # seconds; None: the object's own grace period
    propagation: Propagation | None = None  # None: background
    uid: str | None = None  # only if the object has this uid
    version: str | None = None  # only if the object has this resourceVersion
    dry_run: bool = False  # do everything but delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """The outcome of a deletion."""

    stored: Stored  # the last or present version of the object
    gone: bool  # False: deletion has begun and waits for finalizers or the grace period


def read_options(body: Any, query: dict[str, str], *, dry_run: bool) -> DeleteOptions:
    """Read DeleteOptions from a request's body and query. Raises a 400 refusal for malformed options."""
    given: Json = body if isinstance(body, dict) else {}
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = given.get("propagationPolicy", query.get("propagationPolicy")) or None
    if propagation is None and given.get("orphanDependents") is True:
        propagation = "Orphan"
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        raise bad_request(
            f'propagationPolicy: Unsupported value: "{propagation}": supported values: "Foreground", '
            '"Background", "Orphan"'
        )
    try:
        grace_s = None if grace in (None, "") else int(str(grace))
    except ValueError:
        raise bad_request(f"gracePeriodSeconds must be a number of seconds, got {grace!r}") from None
    return DeleteOptions(
        grace_s=grace_s,
        propagation=propagation,
        uid=dig(given, "preconditions", "uid"),
        version=dig(given, "preconditions", "resourceVersion"),
        dry_run=dry_run or given.get("dryRun") == ["All"],
    )


def delete(cluster: Cluster, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Deleted:
    """Delete an object, or begin to. Raises 404, 403 for a namespace that must stay, 409 for a failed precondition."""
    old = cluster.read(resource, namespace, name)
    if resource.collection == NAMESPACES and name in IMMORTAL:
        raise forbidden(resource.subject(name), "this namespace may not be deleted")
    _check_preconditions(resource, old.body, options)
    grace_s = _grace(resource, old.body, options)
    finalizers = _finalizers(resource, old.body, options)
    key = resource.key(namespace, name)
    if options.dry_run:
        return Deleted(stored=old, gone=not finalizers and not grace_s)
    if not finalizers and not grace_s:
        return Deleted(stored=cluster.store.remove(key) or old, gone=True)
    marked = _marked(old.body, grace_s, finalizers)
    if marked == old.body:
        return Deleted(stored=old, gone=False)
    return Deleted(stored=cluster.store.put(key, marked), gone=False)


def _check_preconditions(resource: Resource, body: Json, options: DeleteOptions) -> None:
    meta = metadata(body)
    for what, wanted, found in (
        ("UID", options.uid, meta.get("uid")),
        ("ResourceVersion", options.version, meta.get("resourceVersion")),
    ):
        if wanted and wanted != found:
            raise conflict(
                resource.subject(str(meta.get("name"))),
                f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
            )


def _grace(resource: Resource, body: Json, options: DeleteOptions) -> int:
    """Return the grace period of an object in seconds; only pods on a node have a grace period."""
    if (resource.group, resource.plural) != ("", "pods"):
        return 0
    if not dig(body, "spec", "nodeName") or dig(body, "status", "phase") in _FINISHED:
        return 0
    own = dig(body, "spec", "terminationGracePeriodSeconds")
    wanted = options.grace_s if options.grace_s is not None else int(own if own is not None else 30)
    pending = metadata(body).get("deletionGracePeriodSeconds")
    if pending is not None:  # a deletion under way can only be shortened
        return min(max(wanted, 0), int(pending)) if options.grace_s is not None else int(pending)
    return max(wanted, 0)


def _finalizers(resource: Resource, body: Json, options: DeleteOptions) -> list[str]:
    """Return the finalizers the object has to wait for."""
    found = [name for name in metadata(body).get("finalizers") or [] if name not in (FOREGROUND, ORPHAN)]
    kept = [name for name in metadata(body).get("finalizers") or [] if name in (FOREGROUND, ORPHAN)]
    if options.propagation == "Foreground":
        kept = [FOREGROUND]
    elif options.propagation == "Orphan":
        kept = [ORPHAN]
    elif options.propagation == "Background":
        kept = []
    if (resource.group, resource.plural) == ("", "namespaces"):
        found += [f"spec:{name}" for name in dig(body, "spec", "finalizers") or []]
    return found + kept


def _marked(body: Json, grace_s: int, finalizers: list[str]) -> Json:
    marked: Json = clone(body)
    meta = marked["metadata"]
    if "deletionTimestamp" not in meta or grace_s < int(meta.get("deletionGracePeriodSeconds") or 0):
        meta["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace_s))
        meta["deletionGracePeriodSeconds"] = grace_s
        if "generation" in meta:
            meta["generation"] += 1
    kept = [name for name in finalizers if not name.startswith("spec:")]
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)
    if marked.get("kind") == "Namespace":
        marked.setdefault("status", {})["phase"] = "Terminating"
    return marked
