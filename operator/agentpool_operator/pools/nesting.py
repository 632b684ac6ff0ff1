"""Limit on the nesting of an AgentPool.

The schema leaves the pod template open, and an API server takes 10,000 levels. Comparing, copying or parsing those
exhausts the stack, so the operator looks at the depth first, without recursion. `views` cuts, `parsing` reports. Pure.
"""

from __future__ import annotations

from typing import Any

MAX_SPEC_DEPTH = 64  # objects and lists in a spec, which is walked recursively; a pod template has less than 20 levels
TOO_DEEP = "agentpool.dev/too-deep"  # field of a shortened spec: the path of the part that was nested too deeply
SHOWN = 8  # steps of a path that are named


def too_deep(value: Any, *, limit: int = MAX_SPEC_DEPTH) -> str | None:
    """Return the path of a part that is nested more than `limit` levels deep; None without such a part."""
    open_parts: list[tuple[Any, tuple[str, ...], int]] = [(value, (), 0)]
    while open_parts:
        part, path, depth = open_parts.pop()
        if not isinstance(part, dict | list):
            continue
        if depth >= limit:
            return ".".join(path) + ".…"
        items = part.items() if isinstance(part, dict) else enumerate(part)
        open_parts += [(below, (*path, str(step))[:SHOWN], depth + 1) for step, below in items]
    return None
