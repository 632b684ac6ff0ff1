"""Ties a child process to its parent: its own process group, and its end when the parent ends.

A group of its own keeps the terminal's Ctrl-C away from children, so that they stop in our order. When the parent is
killed outright, Linux sends the child a signal (prctl PR_SET_PDEATHSIG); elsewhere a child outlives such an end.
`child` starts processes with what `tie` returns.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def tie() -> Callable[[], None] | None:
    """What a new child is to run before its program starts; None where the system has nothing of the kind.

    Call it before the fork: loading a library afterwards is not safe.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return before_exec
