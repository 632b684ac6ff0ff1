"""End a container that uses more memory than the limit, like the kernel in a real container.

The container has no control group: the resident memory of the container's processes is added up at intervals, so a
short peak can go unseen. Without /proc (macOS), limits are not enforced.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.quantity import amounts_of
from agentpool_devcluster.node.family import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.node.process import LocalProcess

LOOK_SECONDS = 0.5
_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def watch_memory(process: LocalProcess, container: Mapping[str, Any]) -> bool:
    """Kill the container's processes when they pass the limit, and return True; False at once where there is none."""
    limit = amounts_of((container.get("resources") or {}).get("limits")).get("memory")
    if limit is None or not (_PROC / "self" / "statm").exists():
        return False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if family_bytes(process.pid) > limit:
            process.kill_all()
            return True


def family_bytes(pid: int) -> int:
    """Resident memory of a process with all descendants, bytes."""
    return sum(_resident_bytes(member) for member in family_of(pid))


def _resident_bytes(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
