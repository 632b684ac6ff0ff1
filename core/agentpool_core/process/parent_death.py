"""Tie a child process to its parent: the child gets a signal when the parent ends, even by SIGKILL.

Linux sends the signal (prctl PR_SET_PDEATHSIG) at the end of the thread that started the child; start children from a
thread that lives as long as the process. Other systems have no such signal, and a child outlives its parent. Used by
`agentpool_worker.handlers.command` for the processes of jobs, and by `agentpool_local.stack.child` for parts.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_EXIT_CODE = 1  # of a child that started after the end of its parent


def signal_on_parent_death(number: signal.Signals) -> Callable[[], None] | None:
    """Return the function for a new child to run before its program starts (`preexec_fn`); None if unsupported.

    Call it before the fork: loading a library afterwards is not safe.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent died before the line above, so no signal will come
            os._exit(_EXIT_CODE)

    return before_exec
