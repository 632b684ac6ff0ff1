"""An optional record of every request, one JSON object a line: evidence for least-privilege rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

from agentpool_devcluster.api.http.paths import Target


class Recorder:
    """Writes a line for each request to the resource API."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1)

    def record(self, *, agent: str, user: str, verb: str, target: Target) -> None:
        """Record one request."""
        line = {
            "userAgent": agent,
            "user": user,
            "verb": verb,
            "group": target.group,
            "resource": target.plural,
            "subresource": target.subresource,
            "namespace": target.namespace or "",
            "name": target.name,
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
