"""The context of a job for programs outside this process: state, parents, steps, waits, output, usage.

A small HTTP server on the loopback address, which a pod's containers share. Each job has an unguessable address, which
answers as long as the job runs. `agentpool_worker.handlers.http` sends the address in the header Agentpool-Context,
`agentpool_worker.handlers.command` in the variable AGENTPOOL_CONTEXT.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agentpool_core.document_fields import check_fields
from agentpool_core.errors import BudgetExceededError, InvalidJobError, StaleLeaseError
from agentpool_core.queue.codec.json_text import MAX_BODY_BYTES, parse
from agentpool_core.queue.codec.signals import check_signal
from agentpool_worker.exceptions import Permanent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_worker.context import Context

_HOST = "127.0.0.1"
_KEY_BYTES = 16
MAX_RETRIES = 1_000  # of a step, within an attempt of the job
MAX_BACKOFF_SECONDS = 60
_USAGE = ("input_tokens", "output_tokens", "cost", "model")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Served:
    """A job that runs here."""

    ctx: Context
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # the attempt has ended


class ContextServer:
    """Serves the contexts of the jobs that run."""

    def __init__(self) -> None:
        self._by_key: dict[str, _Served] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=2 * MAX_BODY_BYTES)
        app.router.add_get("/jobs/{key}", self._answer)
        app.router.add_get("/jobs/{key}/steps/{name}", self._read_step)
        app.router.add_put("/jobs/{key}/steps/{name}", self._write_step)
        app.router.add_post("/jobs/{key}/steps/{name}/failures", self._fail_step)
        app.router.add_post("/jobs/{key}/usage", self._add_usage)
        app.router.add_post("/jobs/{key}/charges", self._charge)
        app.router.add_post("/jobs/{key}/waits/{signal}", self._wait_for)
        app.router.add_post("/jobs/{key}/sleeps/{name}", self._sleep)
        app.router.add_post("/jobs/{key}/chunks", self._emit)
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
        served = self._by_key[key] = _Served(ctx=ctx)
        try:
            yield f"http://{_HOST}:{self._port}/jobs/{key}"
        finally:
            del self._by_key[key]
            served.ended.set()

    def _served_of(self, request: web.Request) -> _Served:
        served = self._by_key.get(request.match_info["key"])
        if served is None:
            raise _refusal(web.HTTPNotFound, "this job does not run here any more")
        return served

    def _context_of(self, request: web.Request) -> Context:
        return self._served_of(request).ctx

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
        result = await _json_of(request, "result")
        with _as_answers():
            stored = await ctx.steps.write(request.match_info["name"], result)
        return web.json_response(stored, status=HTTPStatus.OK)

    async def _fail_step(self, request: web.Request) -> web.Response:
        """Answer after the backoff if the step has a retry left; 422 if not."""
        ctx, name = self._context_of(request), request.match_info["name"]
        error = await _json_of(request, "error")
        text = error if isinstance(error, str) else json.dumps(error)
        retries = int(_number(request, "retries", 0, MAX_RETRIES))
        backoff = _number(request, "backoff", 1, MAX_BACKOFF_SECONDS)
        with _as_answers():
            again = await ctx.steps.fail(name, text, retries=retries, backoff_seconds=backoff)
        if not again:
            raise _refusal(web.HTTPUnprocessableEntity, f"step {name!r} failed, and no retry is left: {text}")
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _charge(self, request: web.Request) -> web.Response:
        """Reserve money for a call; 402 if a budget has too little left."""
        ctx = self._context_of(request)
        body = await _json_of(request, "charge")
        with _as_answers():
            await ctx.charge(**check_fields("charge", body, ("cost",), 'send {"cost": 0.05}'))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _add_usage(self, request: web.Request) -> web.Response:
        """Add a report of usage to the job's totals."""
        ctx = self._context_of(request)
        body = await _json_of(request, "usage")
        with _as_answers():
            await ctx.usage(**check_fields("usage", body, _USAGE, 'send {"input_tokens": 100, "output_tokens": 20}'))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _wait_for(self, request: web.Request) -> web.Response:
        """Answer with the value of a signal; 204 if the signal does not come within `timeout` seconds."""
        signal, name = request.match_info["signal"], request.query.get("name", "")
        with _as_answers():
            check_signal(signal)
        question = await _json_of(request, "question") if request.can_read_body else None
        return await self._wait(request, signal, name, _seconds(request, "timeout"), question)

    async def _sleep(self, request: web.Request) -> web.Response:
        """Answer after `seconds`."""
        await self._wait(request, None, request.match_info["name"], _seconds(request, "seconds"))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _wait(
        self, request: web.Request, signal: str | None, name: str, limit: float | None, question: Any = None
    ) -> web.Response:
        """Wait without a slot: a wait that lasts ends the attempt, and the answer comes after that end."""
        served = self._served_of(request)
        waits = served.ctx.waits
        try:
            with _as_answers():
                call = waits.call_outside(signal, name, limit)
                return web.json_response(await waits.run(call, signal, limit, question))
        except TimeoutError:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        await served.ended.wait()
        raise _refusal(web.HTTPConflict, "the job waits without a slot: stop; it runs again after the wait")

    async def _emit(self, request: web.Request) -> web.Response:
        """Append a chunk to the job's output."""
        ctx = self._context_of(request)
        chunk = await _json_of(request, "chunk")
        with _as_answers():
            await ctx.emit(chunk)
        return web.Response(status=HTTPStatus.NO_CONTENT)


async def _json_of(request: web.Request, field: str) -> Any:
    text = await request.read()
    with _as_answers():
        try:
            return parse(field, text)
        except ValueError as error:
            raise _refusal(web.HTTPBadRequest, f"{field}: not JSON ({error}); send a JSON value as the body") from error


def _seconds(request: web.Request, name: str) -> float | None:
    text = request.query.get(name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        problem = f"{name}: {text!r} is not a number of seconds; write digits, such as 3600"
        raise _refusal(web.HTTPBadRequest, problem) from error


def _number(request: web.Request, name: str, default: float, most: float) -> float:
    text = request.query.get(name, str(default))
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= most:
            return float(text)
    raise _refusal(web.HTTPBadRequest, f"{name}: {text!r} is not a number from 0 to {most}; write digits, such as 3")


@contextlib.contextmanager
def _as_answers() -> Iterator[None]:
    """Turn errors of steps into answers with a status."""
    try:
        yield
    except (InvalidJobError, Permanent) as error:
        raise _refusal(web.HTTPBadRequest, str(error)) from error
    except BudgetExceededError as error:
        raise _refusal(web.HTTPPaymentRequired, str(error)) from error
    except StaleLeaseError as error:
        raise _refusal(web.HTTPConflict, str(error)) from error


def _refusal(kind: type[web.HTTPException], text: str) -> web.HTTPException:
    return kind(text=json.dumps({"error": text}), content_type="application/json")
