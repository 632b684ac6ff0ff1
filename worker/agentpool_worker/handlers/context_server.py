"""The context of a job for programs outside this process: saved state, results of parents, steps, usage.

A small HTTP server on the loopback address, which a pod's containers share. Each job has an unguessable address, which
answers as long as the job runs. `agentpool_worker.handlers.http` sends the address in the header Agentpool-Context,
`agentpool_worker.handlers.command` in the variable AGENTPOOL_CONTEXT.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from agentpool_core.documents import check_fields
from agentpool_core.errors import InvalidJobError, StaleLeaseError
from agentpool_core.queue.codec.json_text import MAX_BODY_BYTES, parse
from agentpool_worker.exceptions import Permanent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_worker.context import Context

_HOST = "127.0.0.1"
_KEY_BYTES = 16
_USAGE = ("input_tokens", "output_tokens", "cost", "model")


class ContextServer:
    """Serves the contexts of the jobs that run."""

    def __init__(self) -> None:
        self._by_key: dict[str, Context] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=2 * MAX_BODY_BYTES)
        app.router.add_get("/jobs/{key}", self._answer)
        app.router.add_get("/jobs/{key}/steps/{name}", self._read_step)
        app.router.add_put("/jobs/{key}/steps/{name}", self._write_step)
        app.router.add_post("/jobs/{key}/usage", self._add_usage)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    @contextlib.contextmanager
    def address_for(self, ctx: Context) -> Iterator[str]:
        """Yield the job's address, valid while the job runs."""
        key = secrets.token_urlsafe(_KEY_BYTES)
        self._by_key[key] = ctx
        try:
            yield f"http://{_HOST}:{self._port}/jobs/{key}"
        finally:
            del self._by_key[key]

    def _context_of(self, request: web.Request) -> Context:
        ctx = self._by_key.get(request.match_info["key"])
        if ctx is None:
            raise _refusal(web.HTTPNotFound, "this job does not run here any more")
        return ctx

    async def _answer(self, request: web.Request) -> web.Response:
        ctx = self._context_of(request)
        return web.json_response({"state": ctx.state, "parents": dict(ctx.parents)})

    async def _read_step(self, request: web.Request) -> web.Response:
        """Answer with the result of a finished step; 404 if the step has not finished."""
        name = request.match_info["name"]
        with _as_answers():
            step = await self._context_of(request).steps.read(name)
        if step is None:
            raise _refusal(web.HTTPNotFound, f"step {name!r} has not finished: run it, then PUT its result here")
        return web.json_response(step.result)

    async def _write_step(self, request: web.Request) -> web.Response:
        """Store the result of a step; answer with the stored result: the first one."""
        ctx = self._context_of(request)
        with _as_answers():
            result = parse("result", await request.read())
            stored = await ctx.steps.write(request.match_info["name"], result)
        return web.json_response(stored, status=HTTPStatus.OK)

    async def _add_usage(self, request: web.Request) -> web.Response:
        """Add a report of usage to the job's totals."""
        ctx = self._context_of(request)
        with _as_answers():
            body = parse("usage", await request.read())
            await ctx.usage(**check_fields("usage", body, _USAGE, 'send {"input_tokens": 100, "output_tokens": 20}'))
        return web.Response(status=HTTPStatus.NO_CONTENT)


@contextlib.contextmanager
def _as_answers() -> Iterator[None]:
    """Turn errors of steps into answers with a status."""
    try:
        yield
    except (InvalidJobError, ValueError, Permanent) as error:
        raise _refusal(web.HTTPBadRequest, str(error)) from error
    except StaleLeaseError as error:
        raise _refusal(web.HTTPConflict, str(error)) from error


def _refusal(kind: type[web.HTTPException], text: str) -> web.HTTPException:
    return kind(text=json.dumps({"error": text}), content_type="application/json")
