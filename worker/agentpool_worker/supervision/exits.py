"""Ends of processes: signal names, and the worker's exit codes beside success (0), failure (1), wrong usage (2).

`agentpool_worker.supervision.supervisor` restarts the worker in place or ends with its code.
"""

from __future__ import annotations

import signal

RESTART = 75  # EX_TEMPFAIL: the worker asks for a fresh process in the same container, as after a leak
SICK = 70  # EX_SOFTWARE: the worker itself is broken here; a restart in place would not help


def signal_name(number: int) -> str:
    """Return the signal's name, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"
