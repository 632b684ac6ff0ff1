"""Forward each job to a container in the same pod, in any language: the payload is POSTed, the answer is the result.

Headers carry the data of a Python handler's context; an address serves data that is too large. The status decides: 2xx
done; 429 and 503 overloaded, with Retry-After; other 5xx failed and may be retried; everything else failed for good. An
answer may be streamed as NDJSON or server-sent events to report progress, save state and emit output. When the job must
stop, the request is dropped, which closes the container's connection. `agentpool_worker.jobs.execution` turns the
exceptions raised here into completions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from agentpool_core.errors import HandlerError, InvalidJobError
from agentpool_core.queue.codec.json_text import parse
from agentpool_core.tracing import child_of
from agentpool_worker.exceptions import Overloaded, Permanent, Retry
from agentpool_worker.handlers.context_server import ContextServer
from agentpool_worker.handlers.stream import EventParser, LineSplitter, Part, PartName, parse_ndjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from agentpool_worker.context import Context
    from agentpool_worker.handlers import RunJob

log = logging.getLogger(__name__)

_UP_SECONDS = 120.0  # for the container to listen, once the worker has started
_UP_POLL_SECONDS = 0.2
_REFUSED_RETRY_SECONDS = 2.0  # a container that restarts is back after about this
_ERROR_BODY_CHARS = 2000  # of an error's answer, kept for the message
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OVERLOADED = (429, 503)


class HttpFailedError(Retry):
    """The container answered with an error, or not as agreed; a further attempt may succeed."""


class HttpHandlers:
    """Sends every job, of any kind, to a URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        # A container elsewhere, as with --handler-http for development, cannot reach our loopback address.
        self._contexts = ContextServer() if URL(url).host in _LOOPBACK else None

    @property
    def kinds(self) -> None:
        """Return None: every kind is accepted; the container finds the kind in Agentpool-Kind."""
        return

    def schemas(self) -> tuple[()]:
        """Return none: the AgentPool describes the payloads."""
        return ()

    def find(self, kind: str) -> RunJob:
        """Return the only handler."""
        del kind
        return self.run

    async def start(self) -> None:
        """Wait until the container listens. Raises HandlerError on timeout."""
        # Slots bound the number of requests; a job's own timeout bounds their time.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        if self._contexts is not None:
            await self._contexts.start()
        if await self._listens():
            return
        log.info("nothing listens yet at %s, the container's PORT; waiting up to %g s", self._url, _UP_SECONDS)
        give_up_at = time.monotonic() + _UP_SECONDS
        while not await self._listens():
            if time.monotonic() > give_up_at:
                raise HandlerError(
                    f"handler.http: nothing listens at {self._url} after {_UP_SECONDS:g} s",
                    remedy="let the container listen at the port in its variable PORT, on localhost or all addresses",
                )
            await asyncio.sleep(_UP_POLL_SECONDS)

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        if self._contexts is not None:
            await self._contexts.stop()

    async def run(self, payload: Any, ctx: Context) -> Any:
        """Run a job. Raises Permanent, Overloaded or HttpFailedError by the answer."""
        if self._session is None:
            raise HandlerError("handler.http: it was not started")
        with contextlib.ExitStack() as stack:
            headers = _headers(ctx)
            if self._contexts is not None:
                headers["Agentpool-Context"] = stack.enter_context(self._contexts.address_for(ctx))
            return await self._forward(self._session, payload, headers, ctx)

    async def _forward(
        self, session: aiohttp.ClientSession, payload: Any, headers: dict[str, str], ctx: Context
    ) -> Any:
        try:
            async with session.post(self._url, json=payload, headers=headers, allow_redirects=False) as response:
                return await _answer(response, ctx)
        except aiohttp.ClientConnectorError as error:
            # Nothing was begun there, so no attempt counts: a restarting container would use up the attempts of a job.
            raise Overloaded(f"{self._url}: {error}", after_seconds=_REFUSED_RETRY_SECONDS) from error
        except aiohttp.ClientError as error:
            raise HttpFailedError(f"{self._url}: {type(error).__name__}: {error}") from error

    async def _listens(self) -> bool:
        url = URL(self._url)
        try:
            _, writer = await asyncio.open_connection(url.host, url.port)
        except OSError:
            return False
        writer.close()
        return True


def _headers(ctx: Context) -> dict[str, str]:
    headers = {
        "Accept": "application/json, application/x-ndjson, text/event-stream",
        "Agentpool-Job-Id": ctx.job_id,
        "Agentpool-Kind": ctx.kind,
        "Agentpool-Priority": ctx.priority.value,
        "Agentpool-Attempt": str(ctx.attempt),
        "Agentpool-Max-Attempts": str(ctx.max_attempts),
        "Agentpool-Deadline": ctx.deadline.isoformat(),
        "Agentpool-Timeout-Seconds": f"{ctx.remaining_seconds:.3f}",
    }
    return headers | child_of(ctx.trace)


async def _answer(response: aiohttp.ClientResponse, ctx: Context) -> Any:
    status = response.status
    if status // 100 != 2:  # noqa: PLR2004 - 2xx
        raise _error(status, (await response.text(errors="replace"))[:_ERROR_BODY_CHARS], response.headers)
    if response.content_type == "application/x-ndjson":
        return await _read_stream(response, ctx, parse_ndjson)
    if response.content_type == "text/event-stream":
        return await _read_stream(response, ctx, EventParser().feed)
    body = await response.text(errors="replace")
    if not body.strip():
        return None
    try:
        return parse("result", body)
    except (ValueError, InvalidJobError) as error:
        raise Permanent(f"the container answered {status} with a body that is not JSON: {error}") from error


async def _read_stream(response: aiohttp.ClientResponse, ctx: Context, parse: Callable[[bytes], Part | None]) -> Any:
    async with contextlib.aclosing(_parts(response, parse)) as parts:
        async for part in parts:
            match part:
                case Part(name=PartName.PROGRESS):
                    await ctx.progress(part.value)
                case Part(name=PartName.CHECKPOINT):
                    await ctx.checkpoint(part.value)
                case Part(name=PartName.CHUNK):
                    await ctx.emit(part.value)
                case Part(name=PartName.RESULT):
                    return part.value
                case Part(name=PartName.ERROR):
                    raise HttpFailedError(str(part.value)) if part.retry else Permanent(str(part.value))
    raise HttpFailedError("the container's stream ended without a result")


async def _parts(response: aiohttp.ClientResponse, parse: Callable[[bytes], Part | None]) -> AsyncGenerator[Part, None]:
    """Yield the stream's parts as they come. Raises Permanent for an invalid line."""
    lines = LineSplitter()
    try:
        async for chunk in response.content.iter_any():
            for line in lines.feed(chunk):
                if (part := parse(line)) is not None:
                    yield part
    except ValueError as error:
        raise Permanent(f"the container streamed an invalid line: {error}") from error
    with contextlib.suppress(ValueError):  # a last line without the line end, or an incomplete line
        if (part := parse(lines.rest())) is not None:
            yield part


def _error(status: int, body: str, headers: Any) -> Exception:
    detail = f"the container answered {status}" + (f": {body.strip()}" if body.strip() else "")
    if status in _OVERLOADED:
        return Overloaded(detail, after_seconds=_retry_after(headers.get("Retry-After")))
    if status // 100 == 5:  # noqa: PLR2004 - 5xx
        return HttpFailedError(detail)
    return Permanent(detail)


def _retry_after(value: str | None) -> float | None:
    """Return the header's seconds, or its date as seconds from now; None if absent or meaningless."""
    if value is None:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
