"""Lifecycle hooks of a container: exec, httpGet, tcpSocket and sleep, after the start or before the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.node.deadline import Deadline
    from agentpool_devcluster.node.probes import Prober
    from agentpool_devcluster.node.process import Launch


async def run_hook(
    name: str, container: Mapping[str, Any], prober: Prober, launch: Launch, deadline: Deadline
) -> str | None:
    """Run the `postStart` or `preStop` hook within the deadline; return None after success, else the problem."""
    hook = (container.get("lifecycle") or {}).get(name)
    if not hook:
        return None
    left = deadline.left()
    try:
        async with asyncio.timeout(left):
            if "sleep" in hook:
                await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))
                return None
            problem = await prober.ask(hook, container, launch, timeout_seconds=left if left is not None else 3600)
    except TimeoutError:
        problem = "it took longer than the grace period"
    return f"{name} hook failed: {problem}" if problem else None
