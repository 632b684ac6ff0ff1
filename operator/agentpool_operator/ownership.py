"""Whose a child is, by its owners, and who has set which field of it, by its `managedFields`. Pure.

A Deployment or PodDisruptionBudget that happens to have a pool's name is somebody else's: it is neither changed nor
given an owner, with whom the garbage collector would delete it.

Server-side apply keeps there, for each field, who applied or changed it. What others have put into the workers'
Deployment beside what we apply stays (an apply removes only what is its own), so it is told. `views` keeps what is
found.
"""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from agentpool.spec import KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json = dict[str, Any]
CHILDREN_MANAGER = "agentpool"  # owns everything of the children but replicas
SCALING_MANAGER = "agentpool-scaling"  # owns replicas
OURS = frozenset({CHILDREN_MANAGER, SCALING_MANAGER})
SHOWN = 3  # fields of others that are named


class Standing(Enum):
    """Whose an object is that bears a pool's name."""

    OURS = auto()  # the pool controls it
    LEFT_BEHIND = auto()  # made for the pool, and nobody's: `kubectl delete --cascade=orphan` leaves such
    LEAVING = auto()  # of a deleted AgentPool of this name: the garbage collector is about to remove it
    FOREIGN = auto()  # somebody else's


def standing_of(child: Json, *, name: str, uid: str, labels: Mapping[str, str]) -> Standing:
    """Return whose an object is that bears the pool's name; `labels` are those that our children of the pool have."""
    metadata = child["metadata"]
    owners = metadata.get("ownerReferences") or []
    if any(owner.get("controller") and owner.get("uid") == uid for owner in owners):
        return Standing.OURS
    if any(owner.get("kind") == KIND and owner.get("name") == name for owner in owners):
        return Standing.LEAVING
    live = metadata.get("labels") or {}
    if not owners and all(live.get(key) == value for key, value in labels.items()):
        return Standing.LEFT_BEHIND
    return Standing.FOREIGN


def appliers_of_replicas(deployment: Json) -> frozenset[str]:
    """Field managers that own spec.replicas by server-side apply."""
    return frozenset(
        entry.get("manager", "")
        for entry in deployment["metadata"].get("managedFields") or []
        if entry.get("operation") == "Apply" and "f:replicas" in _spec_of(entry)
    )


def changes_of_others(deployment: Json) -> str:
    """What others have set in the spec, and who: `template.spec.containers[worker].env[X] (kubectl-set)`; or empty.

    The size belongs to the scaling loop, `paused` is told by itself, and the template's annotations are how
    `kubectl rollout restart` works.
    """
    found = [
        f"{path} ({entry.get('manager', '')})"
        for entry in deployment["metadata"].get("managedFields") or []
        if entry.get("manager") not in OURS and not entry.get("subresource")
        for path in _paths(_spec_of(entry))
        if path not in {"replicas", "paused"} and not path.startswith("template.metadata.annotations")
    ]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _spec_of(entry: Json) -> Json:
    return (entry.get("fieldsV1") or {}).get("f:spec") or {}


def _paths(fields: Json, at: str = "") -> Iterator[str]:
    """The fields that are owned whole, as paths: `f:a` is a field, `k:{...}` an item by its keys, `v:x` a value."""
    for key, below in fields.items():
        kind, _, name = key.partition(":")
        if not name:
            continue
        place = f"{at}.{name}".lstrip(".") if kind == "f" else f"{at}[{_named(kind, name)}]"
        if not below or "." in below:
            yield place
        else:
            yield from _paths(below, place)


def _named(kind: str, name: str) -> str:
    if kind != "k":
        return name
    keys: Json = json.loads(name)
    return ",".join(str(value) for value in keys.values())
