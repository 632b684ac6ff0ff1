"""JSON merge patch (RFC 7386): objects are merged, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.objects import clone


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target with the patch merged in; the target is not changed."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
