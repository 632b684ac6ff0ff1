"""JSON answers in plain ASCII: a job may hold half a surrogate pair, which JSON can escape and UTF-8 cannot write."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class JsonResponse(JSONResponse):
    """Starlette's, with every character beyond ASCII escaped."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def tagged(request: Request, answer: JsonResponse) -> Response:
    """Return an answer with its ETag, weak because of compression; 304 for a client that has the same."""
    tag = f'W/"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    answer.headers["ETag"] = tag
    held = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    same = "*" in held or tag in held or tag.removeprefix("W/") in held
    return Response(status_code=304, headers={"ETag": tag}) if same else answer
