"""Request bodies: media type, size, time, and JSON.

Read here instead of by the framework, so each refusal has its own status and remedy: 415, 413, 408, 400.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import Request
from starlette.requests import ClientDisconnect

from agentpool_core.jobs import Json
from agentpool_core.queue.codec.json_text import parse
from agentpool_core.text import one_line
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.settings import GatewaySettings

JSON_TYPE = "application/json"
NDJSON_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

PATIENCE = 2  # limits: so much of a larger body is read before the connection is closed


async def json_body(
    request: Request, settings: GatewaySettings, *, lines: bool = False, kinds: tuple[str, ...] = (JSON_TYPE,)
) -> tuple[Json, bool]:
    """Return the body, and whether it is a list of jobs. `kinds`: media types of JSON; with `lines`, also NDJSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds and not (lines and kind in NDJSON_TYPES):
        accepted = " or ".join((*kinds, "application/x-ndjson") if lines else kinds)
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            f"the body's type is {kind[:100] or 'missing'}",
            remedy=f"send {accepted} and the header Content-Type",
        )
    data = await _bytes(request, settings)
    if kind in kinds:
        found = _parse_json(data, "the body")
        return found, isinstance(found, list)
    rows = enumerate(data.split(b"\n"), start=1)
    return [_parse_json(row, f"line {number}") for number, row in rows if row.strip()], True


async def _bytes(request: Request, settings: GatewaySettings) -> bytes:
    """Return the body; read and drop the rest of an oversized body for a while.

    Most senders look for an answer only after sending everything; on a closed connection they never see the answer.
    """
    limit = settings.max_body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and len(announced) < 20 and int(announced) > PATIENCE * limit:  # noqa: PLR2004  # digits of 2^64
        raise _too_large(limit)
    data, size = bytearray(), 0
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    data += chunk
                elif size > PATIENCE * limit:
                    break
    except TimeoutError as error:
        raise ProblemError(
            HTTPStatus.REQUEST_TIMEOUT,
            "slow-body",
            f"the body did not arrive within {settings.body_timeout_s:g} s",
            remedy="send the body faster, or in smaller parts",
            headers={"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "cut-off", "the sender went away", remedy="send it again") from error
    if size > limit:
        raise _too_large(limit)
    return bytes(data)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-large",
        f"the body is larger than {limit} bytes",
        remedy="send fewer jobs at once, or store the data elsewhere and send a reference to it",
        headers={"Connection": "close"},
    )


def _parse_json(data: bytes, place: str) -> Json:
    try:
        return parse(place, data, envelope=True)
    except ValueError as error:
        reason = one_line(str(error)[:200])
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "malformed-json", f"{place} is not JSON: {reason}", remedy="send UTF-8 JSON"
        ) from error
