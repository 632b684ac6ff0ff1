"""The console script: prepare signals and a socket before slow imports, then run `agentpool_core.cli.root`.

A container's first process receives only signals that it handles or blocks. So a worker first blocks the signals that
its supervisor handles: a signal that arrives during the imports waits, and is not lost. The socket of the probes of a
worker, an operator or a gateway is opened, too: a probe that finds no listener is a kubelet warning, and a pod may have
a small share of a CPU.
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
    from collections.abc import Sequence

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


# Flags of the address of the probes, and the variable of its host.
ADDRESSES = {
    "operator": ("--health-host=", "--health-port=", "AGENTPOOL_OPERATOR_HEALTH_HOST"),
    "gateway": ("--host=", "--port=", ""),
}
_opened: list[socket.socket] = []  # by `open_probe_socket`, until taken


def address_in(arguments: Sequence[str]) -> tuple[str | None, str | None]:
    """Return host and port of the probes of a command line, as the chart writes it; None: not named."""
    command, *flags = arguments
    if command not in ADDRESSES:
        return None, None
    host, port, variable = ADDRESSES[command]
    named = {flag: text[len(flag) :] for text in flags for flag in (host, port) if text.startswith(flag)}
    return named.get(host) or os.environ.get(variable) or "::", named.get(port)


def open_probe_socket(host: str | None, port: str | None) -> None:
    """Open the socket at this address, if there is one; the command reports a failure later."""
    if not host or not port or port == "0":
        return
    from agentpool_core.process.sockets import listening_socket

    try:
        _opened.append(listening_socket(host, int(port)))
    except (OSError, ValueError, OverflowError):
        return


def take_probe_socket() -> socket.socket | None:
    """Return the socket of `open_probe_socket`, once."""
    return _opened.pop() if _opened else None


def listener_at(host: str, port: int) -> socket.socket:
    """Return the socket of `open_probe_socket` if it has this port, else a new one. Raises OSError."""
    from agentpool_core.process.sockets import listening_socket

    early = take_probe_socket()
    if early is not None:
        if early.getsockname()[1] == port:
            return early
        early.close()
    return listening_socket(host, port)


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
            open_probe_socket(os.environ.get("AGENTPOOL_HTTP_HOST"), os.environ.get("AGENTPOOL_HTTP_PORT"))
    elif len(sys.argv) > 1:
        open_probe_socket(*address_in(sys.argv[1:]))
    from agentpool_core.cli import root

    root.main()
