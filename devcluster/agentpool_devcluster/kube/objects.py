"""The shape of a Kubernetes object: metadata, owners, conditions, times.

Objects stay the JSON that the server sent; only these functions know the location of a field.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agentpool_devcluster.kube.resources import Resource

KubeObject = dict[str, Any]
Uid = NewType("Uid", str)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Key of an object within one resource type."""

    namespace: str  # empty for cluster-scoped objects
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Mapping[str, Any]) -> ObjectKey:
    """Return the object's namespace and name."""
    metadata = obj["metadata"]
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])


def name_of(obj: Mapping[str, Any]) -> str:
    """Return the object's name."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Mapping[str, Any]) -> str:
    """Return the object's namespace; empty for cluster-scoped objects."""
    return str(obj["metadata"].get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> Uid:
    """Return the object's uid, which is never reused."""
    return Uid(str(obj["metadata"].get("uid") or ""))


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the object's labels."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the object's annotations."""
    return obj["metadata"].get("annotations") or {}


def is_terminating(obj: Mapping[str, Any]) -> bool:
    """Return whether deletion of the object has been requested."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the owner reference of the controller that manages the object; None for an orphan."""
    references: list[dict[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Return whether `owner` is the object's controller."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid_of(owner)


def controller_reference(owner: Mapping[str, Any], resource: Resource) -> dict[str, Any]:
    """Return the owner reference that makes `owner` the controller of another object."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition_of(obj: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the status condition of that type; None if not set."""
    conditions: list[dict[str, Any]] = (obj.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def condition_holds(obj: Mapping[str, Any], kind: str) -> bool:
    """Return whether the status condition of that type is True."""
    condition = condition_of(obj, kind)
    return condition is not None and condition.get("status") == "True"


def with_condition(
    conditions: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any], now: str
) -> list[dict[str, Any]]:
    """Return the conditions with `wanted` in place of the condition of the same type.

    The transition time changes only with the status.
    """
    kept: list[dict[str, Any]] = []
    placed = False
    for condition in conditions:
        if condition.get("type") != wanted["type"]:
            kept.append(dict(condition))
            continue
        placed = True
        same = condition.get("status") == wanted["status"]
        since = condition.get("lastTransitionTime") if same else None
        kept.append({**condition, **wanted, "lastTransitionTime": since or now})
    if not placed:
        kept.append({**wanted, "lastTransitionTime": now})
    return kept


def now_text(now: datetime | None = None) -> str:
    """Return a time in the format of objects, to the second; the present without an argument."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro_text() -> str:
    """Return the present in the format of leases, to the microsecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str | None) -> datetime | None:
    """Return the time that a text of an object denotes; None for no text."""
    return datetime.fromisoformat(text) if text else None


def age_seconds(text: str | None, now: datetime) -> float:
    """Return the seconds from a time in an object until `now`; 0 for no time."""
    since = time_of(text)
    return (now - since).total_seconds() if since else 0.0


def copy_of(obj: Mapping[str, Any]) -> KubeObject:
    """Return a copy that may be changed; objects from informers may not."""
    return copy.deepcopy(dict(obj))
