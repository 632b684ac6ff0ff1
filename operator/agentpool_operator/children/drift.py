"""Comparison of a live object with the desired object. Pure.

The desired object is a subset of the live object: the API server adds defaults, and other managers may add fields.
Quantities are compared by value, because the server rewrites them ("0.5" becomes "500m"). `applier` takes over next.
"""

from __future__ import annotations

from typing import Any

from agentpool_core.kube.quantities import same_quantity

Json = dict[str, Any]
KEYED_BY = ("name", "containerPort", "key", "topologyKey", "mountPath", "uid")  # identity of a list's item


def differences(wanted: Any, live: Any, at: str = "") -> list[str]:
    """Return paths at which the live object lacks or contradicts the desired object; empty = equal."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return [] if not wanted and live is None else [at]
        return [d for key, value in wanted.items() for d in differences(value, live.get(key), f"{at}.{key}")]
    if isinstance(wanted, list):
        return _list_differences(wanted, live, at)
    if wanted == live or str(wanted) == str(live):
        return []
    if wanted in (None, "", 0, False) and live is None:
        return []  # the server leaves empty values out
    return [] if same_quantity(wanted, live) else [at]


def _list_differences(wanted: list[Any], live: Any, at: str) -> list[str]:
    if not isinstance(live, list):
        return [] if not wanted and live is None else [at]
    key = next((k for k in KEYED_BY if wanted and all(isinstance(i, dict) and k in i for i in wanted)), None)
    if key is None:
        if len(wanted) != len(live):
            return [at]
        return [d for i, pair in enumerate(zip(wanted, live, strict=True)) for d in differences(*pair, f"{at}[{i}]")]
    by_key = {item.get(key): item for item in live if isinstance(item, dict)}
    return [d for item in wanted for d in differences(item, by_key.get(item[key]), f"{at}[{item[key]}]")]
