"""A process with all its descendants, as the kernel lists them, and the end of them all.

A container's processes may lead process groups of their own, so its group alone is not the container. Where the system
lists no children (macOS), a process stands alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")


def family_of(pid: int) -> list[int]:
    """Return the process and its descendants, parents before their children."""
    found = [pid]
    for each in found:  # grows as it goes
        found += _children(each)
    return found


def kill_family(pid: int) -> None:
    """End the leader of a process group, its group and all its descendants."""
    members = family_of(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for member in members[1:]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)


def _children(pid: int) -> Iterator[int]:
    """Return the children of all threads of the process; empty for a process that has ended."""
    with contextlib.suppress(OSError):
        for listed in (_PROC / str(pid) / "task").glob("*/children"):
            with contextlib.suppress(OSError):  # the thread has ended
                yield from map(int, listed.read_text(encoding="ascii").split())
