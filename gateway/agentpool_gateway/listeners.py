"""Listening sockets of the gateway, opened before the app is imported.

A port in use is a one-line error at once, and the port chosen for 0 can be reported. `server` takes over next.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentpool_core.errors import SettingError
from agentpool_core.process.sockets import authority
from agentpool_core.start import listener_at

if TYPE_CHECKING:
    from agentpool_gateway.options import GatewayOptions


@contextlib.contextmanager
def open_listeners(options: GatewayOptions) -> Iterator[tuple[socket.socket, socket.socket | None]]:
    """Yield the socket of the API, and that of the metrics or None. Raises SettingError for a port in use."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen("--port", options.host, options.port))
        beside = None
        if options.metrics_port is not None:
            beside = stack.enter_context(_listen("--metrics-port", options.host, options.metrics_port))
        yield listener, beside


def _listen(field: str, host: str, port: int) -> socket.socket:
    try:
        return listener_at(host, port)
    except OSError as error:
        raise SettingError(
            field=field,
            value=authority(host, port),
            problem=f"cannot be listened on ({error.strerror or error})",
            remedy="choose a different address or port, or 0 for any free port",
        ) from error
