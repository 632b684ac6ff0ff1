"""Ends a job's process when its worker is killed outright, so that no two run the same job side by side.

Linux sends the signal (prctl PR_SET_PDEATHSIG); elsewhere a process outlives such a worker by the length of its job.
In a pod the container's end does the same. Who takes over next: `agentpool_worker.handlers.command`.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def ending_with_parent() -> Callable[[], None] | None:
    """What a child is to do between fork and exec: one system call, looked up beforehand. None: nothing to do here."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return tie
