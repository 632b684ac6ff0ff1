"""End a container that exceeds its memory limit, as the kernel does for a real container.

Without a control group, the resident memory of the container's process group is summed periodically, so a short peak
can be missed. Without /proc (macOS), limits are not enforced.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.quantity import amounts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.node.process import LocalProcess

LOOK_SECONDS = 0.5
_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_GROUP_FIELD = 2  # of /proc/PID/stat, after the command in parentheses: state, parent, group


async def watch_memory(process: LocalProcess, container: Mapping[str, Any]) -> bool:
    """Kill the process group when it exceeds the limit, and return True; return False at once without a limit."""
    limit = amounts_of((container.get("resources") or {}).get("limits")).get("memory")
    if limit is None or not (_PROC / "self" / "statm").exists():
        return False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        # The main process is read alone first: most containers are a single process, far below the limit.
        if _resident_bytes(process.pid) * 4 > limit and group_bytes(process.pid) > limit:
            process.kill_group()
            return True


def group_bytes(group: int) -> int:
    """Resident memory of all processes of a group, bytes."""
    members = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return sum(_resident_bytes(pid) for pid in members if _group_of(pid) == group)


def _resident_bytes(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def _group_of(pid: int) -> int:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[_GROUP_FIELD])
    except (OSError, IndexError, ValueError):
        return -1
