"""The console script: prepares signals before anything is imported that takes time, then runs `agentpool.cli`.

A container's first process gets no signal that it has no handler for, except one that it blocks. So a worker blocks
the signals that its supervisor handles as its very first step: one that arrives during the imports waits, and is not
lost.
Who takes over next: `agentpool.cli`; for workers `agentpool_worker.supervisor`, which unblocks them.
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
    """Deliver what has waited, and all that comes."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["worker"]:
        hold_signals()
    from agentpool import cli

    cli.main()
