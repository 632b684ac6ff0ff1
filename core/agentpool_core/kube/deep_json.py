"""JSON from the Kubernetes API, at any nesting depth.

A pod template is an open part of an AgentPool, and an API server accepts 10,000 levels, while Python's decoder may end
at 1,000 with a RecursionError. Such an object must not make the whole list unreadable, so the decoder removes the
levels below `READABLE_DEPTH`. Used by `agentpool_core.kube.client`.
"""

from __future__ import annotations

import json
import re
from typing import Any

READABLE_DEPTH = 200  # above every limit on objects, so a deep object is recognised; below Python's limit
CUT = '"…"'  # replaces a removed part
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """Decode JSON; remove parts nested too deeply for the decoder. Raises ValueError for invalid JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_cut(text if isinstance(text, str) else text.decode()))


def _cut(text: str) -> str:
    """Return the text with each object and array below `READABLE_DEPTH` replaced."""
    kept: list[str] = []
    depth, since = 0, 0  # `since`: end of the part already kept or removed
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == READABLE_DEPTH + 1:
                kept += [text[since : token.start()], CUT]
        elif token[0] in "]}":
            if depth == READABLE_DEPTH + 1:
                since = token.end()
            depth -= 1
    return "".join((*kept, text[since:]))
