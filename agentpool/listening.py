"""Listening sockets for probes, metrics and the HTTP API, on whichever address family a pod has.

`::` stands for all addresses, IPv6 and IPv4: a pod of an IPv6-only cluster has no IPv4 address to be probed at, and
`0.0.0.0` would leave it unready for ever. asyncio opens `::` for IPv6 alone, so the socket is opened here.
"""

from __future__ import annotations

import socket

EVERYWHERE = "::"  # all addresses of all families
BACKLOG = 2_048  # connections that the kernel holds for us


def listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 takes any free one. Raises OSError.

    `::` listens on IPv4 alone where the kernel has no IPv6.
    """
    dual = host == EVERYWHERE and socket.has_dualstack_ipv6()
    if host == EVERYWHERE and not dual:
        host = "0.0.0.0"  # noqa: S104 - what `::` means without IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    opened.setblocking(False)
    return opened
