"""The socket of a worker's probes, opened before anything heavy is imported.

A probe that comes while the worker starts finds a listener and waits for its answer; without one it would be refused,
and the kubelet would warn of every start. The supervisor keeps the socket over restarts of the worker, and answers for
a worker that starts anew: liveness is looked at by then, and a slow import is no reason to end the container.
Who takes over next: `agentpool_worker.health` serves on it.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from agentpool.listening import EVERYWHERE, listening_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP_PORT = 8080
_REQUEST_BYTES = 4096
_REQUEST_SECONDS = 0.1  # for a request to follow its connection


def probe_socket(flags: Mapping[str, Any], environ: Mapping[str, str]) -> socket.socket | None:
    """Open the socket that flags and environment name; None where that fails: the worker tries again and reports it."""
    host = flags["http_host"] or environ.get("AGENTPOOL_HTTP_HOST") or EVERYWHERE
    port = flags["http_port"] if flags["http_port"] is not None else environ.get("AGENTPOOL_HTTP_PORT") or HTTP_PORT
    try:
        return listening_socket(host, int(port))
    except (OSError, ValueError, OverflowError):
        return None


def answer_one(listening: socket.socket, reason: str) -> None:
    """Answer one probe for a worker that starts anew: it is alive, and not ready for this reason."""
    with contextlib.suppress(OSError):  # nobody is there any more, or the worker was faster
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(_REQUEST_SECONDS)
            alive = b" /healthz" in connection.recv(_REQUEST_BYTES).split(b"\r\n", 1)[0]
            status, text = ("200 OK", "ok\n") if alive else ("503 Service Unavailable", f"{reason}\n")
            body = text.encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
