"""Write answers: JSON or YAML, warnings, and refusals as Status objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from aiohttp import web

from agentpool_devcluster.api.errors import StatusError
from agentpool_devcluster.api.http.negotiation import PLAIN, Form
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.store import encode


def answer(value: Any, *, code: int = 200, form: Form = PLAIN, warnings: Sequence[str] = ()) -> web.Response:
    """Write an object, or its JSON text."""
    if form.media_type == "application/yaml":
        found = json.loads(value) if isinstance(value, bytes) else value
        body = yaml.safe_dump(found, sort_keys=False).encode()
    else:
        body = value if isinstance(value, bytes) else encode(value)
    response = web.Response(body=body, status=code, content_type=form.media_type)
    for warning in warnings:
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")  # a field may have any name
    return response


def refusal(error: StatusError) -> web.Response:
    """Write a refusal."""
    response = answer(error.as_status(), code=error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def success(details: Json) -> Json:
    """Return the Status of a deletion that is done."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
