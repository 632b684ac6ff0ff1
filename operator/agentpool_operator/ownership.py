"""Who has set which field of a Deployment, by its `managedFields`. Pure.

Server-side apply keeps there, for each field, who applied or changed it. What others have put into the workers'
Deployment beside what we apply stays (an apply removes only what is its own), so it is told. `views` keeps what is
found.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]
CHILDREN_MANAGER = "agentpool"  # owns everything of the children but replicas
SCALING_MANAGER = "agentpool-scaling"  # owns replicas
OURS = frozenset({CHILDREN_MANAGER, SCALING_MANAGER})
SHOWN = 3  # fields of others that are named


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
