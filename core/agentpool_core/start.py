"""The console script: prepare signals and a socket before slow imports, then run `agentpool_core.cli.root`.

A container's first process receives only signals that it handles or blocks. So a worker first blocks the signals that
its supervisor handles: a signal that arrives during the imports waits, and is not lost. The socket of its probes is
opened, too: a probe that finds no listener is a kubelet warning, and a pod may have a small share of a CPU.
`agentpool_core.cli.root` takes over next; for workers `agentpool_worker.supervision.supervisor`, which unblocks the
signals.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

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


_opened: list[socket.socket] = []  # by `open_probe_socket`, until taken


def open_probe_socket() -> None:
    """Open the socket that a pod's environment names, if any; the worker reports a failure later."""
    host, port = os.environ.get("AGENTPOOL_HTTP_HOST"), os.environ.get("AGENTPOOL_HTTP_PORT")
    if not host or not port:
        return
    from agentpool_core.process.sockets import listening_socket

    try:
        _opened.append(listening_socket(host, int(port)))
    except (OSError, ValueError, OverflowError):
        return


def take_probe_socket() -> socket.socket | None:
    """Return the socket of `open_probe_socket`, once."""
    return _opened.pop() if _opened else None


def complete() -> None:
    """Answer kubectl, which completes the command line of `kubectl agentpool`."""
    from agentpool_core.cli import root
    from agentpool_core.cli.completion import answer_kubectl

    answer_kubectl(root.root, sys.argv[1:])


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["worker"]:
        hold_signals()
        if "--reload" not in sys.argv:  # a worker that reloads is a child process with a socket of its own
            open_probe_socket()
    from agentpool_core.cli import root

    root.main()
