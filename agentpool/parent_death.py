"""Ties a child process to its parent: it gets a signal when the parent ends, even by SIGKILL.

Linux sends it (prctl PR_SET_PDEATHSIG) when the thread ends that started the child; start children from a thread
that lives as long as the process. Elsewhere there is nothing of the kind, and a child outlives such a parent.
Who takes over next: `agentpool_worker.handlers.command` for the processes of jobs, `agentpool_local.child` for parts.
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
_EXIT_CODE = 1  # of a child whose parent was gone before it began


def tied(number: signal.Signals) -> Callable[[], None] | None:
    """What a new child of this process is to run before its program starts (`preexec_fn`); None: nothing, here.

    Call it before the fork: loading a library afterwards is not safe.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above, so no signal will come
            os._exit(_EXIT_CODE)

    return before_exec
