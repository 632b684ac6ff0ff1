"""The format of a pool's queue: the number that a release writes with the settings, and refuses above its own.

A release reads its own format and all earlier ones, so only an older program meets `NewerFormatError`
(docs/decisions/0058-releases-side-by-side.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_core.queue.codec.layout import DIGITS_MAX
from agentpool_core.text import render_value

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef

FORMAT = 1  # of the keys and their texts; 0.2.0 and earlier write none


class NewerFormatError(QueueError):
    """A newer release has changed the format of the pool's queue, and this release would misread it."""

    def __init__(self, pool: PoolRef, found: str) -> None:
        self.pool = str(pool)
        self.found = found
        super().__init__(
            f"the queue of pool {str(pool)!r} has format {render_value(found)}, and this release reads up to {FORMAT}",
            remedy="upgrade this program to the operator's release, or roll the operator back",
        )


def check_format(pool: PoolRef, conf: Mapping[str, str]) -> None:
    """Raise NewerFormatError if a newer release keeps the queue with these settings."""
    found = conf.get("format", "")
    if found.isdecimal() and len(found) <= DIGITS_MAX and int(found) > FORMAT:
        raise NewerFormatError(pool, found)
