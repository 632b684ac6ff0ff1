"""Create and update: the common path of every write.

Patches (`operations.patches`) and subresources end here as well, so that ownership, generation, immutable metadata and
the end of a pending deletion are decided in one place.
"""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.apply.managers import (
    Managers,
    after_update,
    read_managers,
    write_managers,
)
from agentpool_devcluster.api.errors import already_exists, bad_request, conflict, stale
from agentpool_devcluster.api.kinds.strategies import strategy_of
from agentpool_devcluster.api.objects import (
    Json,
    clone,
    generated_suffix,
    is_terminating,
    metadata,
    name_of,
    new_uid,
    timestamp,
)
from agentpool_devcluster.api.operations.admission import admit
from agentpool_devcluster.api.operations.cluster import Cluster, WriteOptions, Written
from agentpool_devcluster.api.operations.intake import check, check_identity, clean, complete
from agentpool_devcluster.api.operations.versions import shown_as, stored_from
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Stored

_SERVER_OWNED = (
    "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink",
)  # fmt: skip
_MAX_GENERATED = 58  # characters of generateName that are used


def create(
    cluster: Cluster,
    resource: Resource,
    namespace: str,
    body: Any,
    *,
    options: WriteOptions,
    managers: Managers | None = None,
) -> Written:
    """Create an object. `managers` are the owners computed by an apply; None: the creator owns all fields."""
    cluster.check_namespace(resource, namespace)
    body = check_identity(resource, body, namespace)
    meta = body["metadata"]
    if meta.pop("resourceVersion", None):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for field in (*_SERVER_OWNED, "managedFields"):
        meta.pop(field, None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = str(meta["generateName"])[:_MAX_GENERATED] + generated_suffix()
    warnings = clean(resource, body, options)
    _reset_status(resource, body)
    meta.update(uid=new_uid(), creationTimestamp=timestamp())
    if resource.has_generation:
        meta["generation"] = 1
    admit(cluster, resource, namespace, body)
    complete(resource, body)
    _initial_status(resource, body)
    check(resource, body, None)
    key = resource.key(namespace, name_of(body))
    if cluster.store.get(key) is not None:
        raise already_exists(resource.subject(name_of(body)))
    if managers is None:
        managers = after_update({}, {}, _without_status(resource, body), resource.schema(), options.writer)
    write_managers(body, managers)
    stored_body = stored_from(resource, body)
    missing = strategy_of(resource).stored_only
    warnings = (*warnings, missing) if missing else warnings
    if options.dry_run:
        return Written(stored=Stored(stored_body, 0), created=True, warnings=warnings)
    return Written(stored=cluster.store.put(key, stored_body), created=True, warnings=warnings)


def _without_status(resource: Resource, body: Json) -> Json:
    """Remove the status, which belongs to its first writer and not to the object's creator."""
    if not resource.has_status() or strategy_of(resource).keeps_status_on_create:
        return body
    return {key: value for key, value in body.items() if key != "status"}


def _reset_status(resource: Resource, body: Json) -> None:
    if resource.has_status() and not strategy_of(resource).keeps_status_on_create:
        body.pop("status", None)


def _initial_status(resource: Resource, body: Json) -> None:
    if resource.has_status() and "status" not in body and not resource.is_custom:
        body["status"] = strategy_of(resource).initial_status(body) or {}


def update(
    cluster: Cluster, resource: Resource, namespace: str, name: str, *, body: Any, options: WriteOptions
) -> Written:
    """Replace an object, or the status if written through that subresource."""
    old = cluster.read(resource, namespace, name)
    body = check_identity(resource, body, namespace, name)
    return finish(cluster, resource, old, body, options=options)


def finish(
    cluster: Cluster,
    resource: Resource,
    old: Stored,
    body: Json,
    *,
    options: WriteOptions,
    managers: Managers | None = None,
) -> Written:
    """Store a new version of an object, unless nothing changes.

    `managers` are the owners computed by an apply; None: an update, which takes the fields that it changes. Raises a
    409 refusal if the body names a resourceVersion or uid that is not the object's.
    """
    before = shown_as(resource, old.body)
    _check_preconditions(resource, before, body)
    warnings = clean(resource, body, options)
    new = _separate(resource, before, body, options.writer.subresource)
    _keep_server_owned(before, new)
    _reset_if_asked(new, before)
    strategy_of(resource).carry(new, before)
    complete(resource, new)
    _count_generation(resource, before, new)
    check(resource, new, before)
    if managers is None:
        known = read_managers(new) if metadata(new).get("managedFields") else {}
        managers = after_update(known, before, new, resource.schema(), options.writer)
    write_managers(new, managers)
    return _commit(cluster, resource, old, new, options=options, warnings=warnings)


def _check_preconditions(resource: Resource, before: Json, body: Json) -> None:
    wanted, uid = metadata(body).get("resourceVersion"), metadata(body).get("uid")
    subject = resource.subject(name_of(before))
    if wanted and wanted != before["metadata"]["resourceVersion"]:
        raise stale(subject)
    if uid and uid != before["metadata"]["uid"]:
        raise conflict(
            subject,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['metadata']['uid']}",
        )


def _separate(resource: Resource, before: Json, body: Json, subresource: str) -> Json:
    """Separate the parts that the main resource and the status subresource may write."""
    if subresource == "status":
        new: Json = clone({key: value for key, value in before.items() if key != "status"})
        if "status" in body:
            new["status"] = body["status"]
        if strategy_of(resource).status_writes_metadata:
            for field in ("labels", "annotations"):
                if field in metadata(body):
                    new["metadata"][field] = metadata(body)[field]
        if "managedFields" in metadata(body):
            new["metadata"]["managedFields"] = metadata(body)["managedFields"]
        return new
    if resource.has_status():
        body.pop("status", None)
        if "status" in before:
            body["status"] = clone(before["status"])
    return body


def _keep_server_owned(before: Json, new: Json) -> None:
    for field in (*_SERVER_OWNED, "resourceVersion", "name", "namespace"):
        if field in before["metadata"]:
            new["metadata"][field] = before["metadata"][field]
        else:
            new["metadata"].pop(field, None)


def _reset_if_asked(new: Json, before: Json) -> None:
    """Forget all owners for an empty list of managedFields; change nothing without the list."""
    given = metadata(new).get("managedFields")
    if given is None:
        if "managedFields" in before["metadata"]:
            new["metadata"]["managedFields"] = before["metadata"]["managedFields"]
    elif given == [{}]:
        new["metadata"].pop("managedFields")
    elif not given:
        new["metadata"]["managedFields"] = before["metadata"].get("managedFields") or []


def _count_generation(resource: Resource, before: Json, new: Json) -> None:
    if not resource.has_generation:
        return
    ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if resource.has_status() else set())
    changed = any(before.get(field) != new.get(field) for field in (before.keys() | new.keys()) - ignored)
    if changed:
        new["metadata"]["generation"] = int(before["metadata"].get("generation", 1)) + 1


def _commit(
    cluster: Cluster,
    resource: Resource,
    old: Stored,
    new: Json,
    *,
    options: WriteOptions,
    warnings: tuple[str, ...],
) -> Written:
    body = stored_from(resource, new)
    key = resource.key(str(metadata(body).get("namespace") or ""), name_of(body))
    if body == old.body:
        return Written(stored=old, warnings=warnings)
    if options.dry_run:
        return Written(stored=Stored(body, old.version), warnings=warnings)
    if is_terminating(body) and not metadata(body).get("finalizers") and _may_go(body, old.body):
        cluster.store.put(key, body)
        last = cluster.store.remove(key)
        return Written(stored=last or old, deleted=True, warnings=warnings)
    return Written(stored=cluster.store.put(key, body), warnings=warnings)


def _may_go(body: Json, before: Json) -> bool:
    """Return whether an object without finalizers may be removed: a pod still has its grace period."""
    had_finalizers = bool(metadata(before).get("finalizers"))
    return had_finalizers and not metadata(body).get("deletionGracePeriodSeconds")
