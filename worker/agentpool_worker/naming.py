"""Default name of a worker. Imports little: the supervisor chooses the name for all workers."""

from __future__ import annotations

import os
import secrets
import socket


def own_name() -> str:
    """Return a unique name: host, process, and a few random characters."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
