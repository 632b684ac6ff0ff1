"""Listening sockets for probes, metrics and the HTTP API, for every address family of a pod.

`::` stands for all addresses, IPv6 and IPv4: a pod of an IPv6-only cluster has no IPv4 address for probes, and
`0.0.0.0` would leave it unready for ever. asyncio opens `::` for IPv6 alone, so the socket is opened here.
"""

from __future__ import annotations

import socket

EVERYWHERE = "::"  # all addresses of all families
BACKLOG = 2_048  # connections that the kernel holds for us


def listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 chooses a free port. Raises OSError.

    `::` listens on IPv4 alone if the kernel has no IPv6.
    """
    dual = host == EVERYWHERE and socket.has_dualstack_ipv6()
    if host == EVERYWHERE and not dual:
        host = "0.0.0.0"  # noqa: S104 - the meaning of `::` without IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    opened.setblocking(False)
    return opened


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
