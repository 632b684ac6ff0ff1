"""JSON answers in plain ASCII: a job may hold half a surrogate pair, which JSON can escape and UTF-8 cannot write."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


class JsonResponse(JSONResponse):
    """Starlette's, with every character beyond ASCII escaped."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
