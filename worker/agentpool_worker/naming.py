"""The name of a worker that nobody has named. Imports little: the supervisor chooses it for all its workers."""

from __future__ import annotations

import os
import secrets
import socket


def own_name() -> str:
    """Return a name that no other worker has: host, process, and a few random characters."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
