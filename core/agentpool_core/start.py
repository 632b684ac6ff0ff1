"""The console script: prepare signals before slow imports, then run `agentpool_core.cli.root`.

A container's first process receives only signals that it handles or blocks. So a worker first blocks the signals that
its supervisor handles: a signal that arrives during the imports waits, and is not lost. `agentpool_core.cli.root` takes
over next; for workers `agentpool_worker.supervision.supervisor`, which unblocks the signals.
"""

from __future__ import annotations

import signal
import sys

# SIGCHLD: an orphan may be adopted, and end, before the supervisor listens.
HELD = frozenset(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD")
    if hasattr(signal, name)
)


def hold_signals() -> None:
    """Keep signals waiting until `release_signals`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def release_signals() -> None:
    """Deliver pending signals, and all later signals."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["worker"]:
        hold_signals()
    from agentpool_core.cli import root

    root.main()
