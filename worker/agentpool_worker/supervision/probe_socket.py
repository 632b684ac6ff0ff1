"""The socket of a worker's probes, opened before heavy imports.

A probe during the worker's start finds a listener and waits for an answer; a refused probe would be a kubelet warning
at every start. The supervisor keeps the socket over restarts of the worker, and answers for a restarting worker:
liveness is probed by then, and a slow import is no reason to end the container. The supervisor also answers after the
end of the last worker. `agentpool_worker.telemetry.health` serves on it.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from agentpool_core.process.sockets import EVERYWHERE, listening_socket
from agentpool_core.start import take_probe_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP_PORT = 8080
_REQUEST_BYTES = 4096
_REQUEST_SECONDS = 1.0  # for a request after the connection, on a busy machine too


def probe_socket(flags: Mapping[str, Any], environ: Mapping[str, str]) -> socket.socket | None:
    """Return the socket of flags and environment, open; None on failure, which the worker reports later."""
    opened = take_probe_socket()
    if opened is not None:
        if flags["http_host"] is None and flags["http_port"] is None:
            return opened
        opened.close()
    host = flags["http_host"] or environ.get("AGENTPOOL_HTTP_HOST") or EVERYWHERE
    port = flags["http_port"] if flags["http_port"] is not None else environ.get("AGENTPOOL_HTTP_PORT") or HTTP_PORT
    try:
        return listening_socket(host, int(port))
    except (OSError, ValueError, OverflowError):
        return None


def answer_one(listening: socket.socket, reason: str, *, leaving: bool = False) -> bool:
    """Answer a probe in the worker's place: alive, and not ready for this reason.

    `leaving`: the pod ends, so that the kubelet's own probes and hooks succeed. Return whether the kubelet asked for
    readiness.
    """
    by_kubelet = False
    with contextlib.suppress(OSError):  # the client is gone, or the worker was faster
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(_REQUEST_SECONDS)
            request = connection.recv(_REQUEST_BYTES).split(b"\r\n", 1)[0]
            by_kubelet = b" /readyz?draining=ready" in request
            good = b" /healthz" in request or (leaving and (by_kubelet or b" /drained" in request))
            status, text = ("200 OK", "ok\n") if good else ("503 Service Unavailable", f"{reason}\n")
            body = text.encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
    return by_kubelet
