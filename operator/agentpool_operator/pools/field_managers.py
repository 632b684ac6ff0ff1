"""Ownership of a child, by its owner references, and of the fields, by `managedFields`. Pure.

A Deployment or PodDisruptionBudget that happens to have a pool's name is foreign: it is neither changed nor given an
owner, with which the garbage collector would delete it.

Server-side apply records the manager of each field in `managedFields`. Foreign fields in the workers' Deployment stay
beside ours (an apply removes only its own fields), so they are reported. `views` keeps the result.
"""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from agentpool_core.spec import KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json = dict[str, Any]
CHILDREN_MANAGER = "agentpool"  # owns everything of the children but replicas
SCALING_MANAGER = "agentpool-scaling"  # owns replicas
OURS = frozenset({CHILDREN_MANAGER, SCALING_MANAGER})
SHOWN = 3  # foreign fields named in a message


class Standing(Enum):
    """Owner of an object with a pool's name."""

    OURS = auto()  # controlled by the pool
    LEFT_BEHIND = auto()  # created for the pool, without an owner: left behind by `kubectl delete --cascade=orphan`
    LEAVING = auto()  # of a deleted AgentPool of this name: the garbage collector is about to remove it
    FOREIGN = auto()  # has a different owner


def standing_of(child: Json, *, name: str, uid: str, labels: Mapping[str, str]) -> Standing:
    """Return the owner of an object with the pool's name; `labels` are those of the pool's own children."""
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
    """Return the field managers that own spec.replicas by server-side apply."""
    return frozenset(
        entry.get("manager", "")
        for entry in deployment["metadata"].get("managedFields") or []
        if entry.get("operation") == "Apply" and "f:replicas" in _spec_of(entry)
    )


def changes_of_others(deployment: Json) -> str:
    """Return foreign fields of the spec with their managers, or an empty text.

    Example: `template.spec.containers[worker].env[X] (kubectl-set)`. The size belongs to the scaling loop, `paused` is
    reported separately, and `kubectl rollout restart` uses the template's annotations.
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


def last_foreign_manager(deployment: Json) -> str:
    """Return the manager of the newest foreign change of the spec or the metadata; empty = none."""
    entries = deployment["metadata"].get("managedFields") or []
    foreign = [e for e in entries if e.get("manager") not in OURS and not e.get("subresource")]
    newest: Json = max(foreign, key=lambda entry: str(entry.get("time", "")), default={})
    return str(newest.get("manager", ""))


def _spec_of(entry: Json) -> Json:
    return (entry.get("fieldsV1") or {}).get("f:spec") or {}


def _paths(fields: Json, at: str = "") -> Iterator[str]:
    """Yield the paths of wholly owned fields: `f:a` is a field, `k:{...}` an item by its keys, `v:x` a value."""
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
