"""Names, ids and limits of signals. Used by `producer` and by a worker's waits."""

from __future__ import annotations

import re

from agentpool_core.errors import InvalidJobError

MAX_SIGNALS = 1_000  # of a job
MAX_SIGNAL_ID_CHARS = 200
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_signal(name: object, signal_id: object = None) -> None:
    """Raise InvalidJobError for a name or an id that a signal cannot have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidJobError(
            field="signal",
            value=name,
            problem="not a name of a signal",
            remedy="use 1 to 100 letters, digits, '.', '_' or '-'",
        )
    if signal_id is None:
        return
    if not isinstance(signal_id, str) or not 0 < len(signal_id) <= MAX_SIGNAL_ID_CHARS or not signal_id.isprintable():
        raise InvalidJobError(
            field="id",
            value=signal_id,
            problem="not an id of a signal",
            remedy=f"use 1 to {MAX_SIGNAL_ID_CHARS} printable characters, or leave it out",
        )
