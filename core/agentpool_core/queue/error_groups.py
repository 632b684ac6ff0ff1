"""Groups of errors: errors that differ in numbers and long ids only have the same text. Pure.

`scripts/lib/selection.lua` computes the same text for the condition `error_group` of a selector.
"""

from __future__ import annotations

import re

from agentpool_core.text import first_line_of

LONGEST_BYTES = 300  # of an error's first line; what follows makes no difference
DIFFERS = "…"  # in place of a part that differs from job to job
_PARTS = (
    re.compile(r"0x[0-9a-fA-F]+"),  # an address
    re.compile(r"(?<![0-9A-Za-z_])[0-9a-fA-F]{8}[0-9a-fA-F-]{4,}(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])"),  # an id
    re.compile(r"[0-9][0-9.:,]*[0-9]|[0-9]"),  # a number, a time, an address of a network
)


def group_of(error: str | None) -> str:
    """Return the text of an error's group: its first line, with a mark for each number and long id."""
    line = (first_line_of(error) or "").encode()[:LONGEST_BYTES].decode(errors="ignore")
    for part in _PARTS:
        line = part.sub(DIFFERS, line)
    return line
