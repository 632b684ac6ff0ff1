"""Allowed shapes of a handler, converted to the form that the worker runs: `async (payload, ctx) -> result`.

An async function (also a method, a partial, or an object with an async `__call__`) runs in the event loop. Any
different callable runs in a thread; if the callable returns an awaitable, like an undecorated wrapper of an async
function, the awaitable is awaited in the event loop within the same attempt, and a generator of either sort is read to
the end. A payload that is annotated with a pydantic model arrives as an instance. An unusable callable is refused at
registration. `agentpool_worker.handlers.app` registers the result of `handler_of`.
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import HandlerError
from agentpool_core.text import render_value
from agentpool_worker.handlers.models import Models, models_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_worker.context import BlockingContext, Context
    from agentpool_worker.handlers import RunJob
    from agentpool_worker.threads import HandlerThreads

_CONTEXT_NAMES = ("ctx", "context")
_CONTEXT_TYPE = re.compile(r"\b(Blocking)?Context\b")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def name_of(function: Any) -> str:
    """Return the name of a handler for messages: module and qualified name."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', None) or render_value(function)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A function in the form that the worker runs."""

    name: str  # for messages
    run: RunJob
    models: Models


def handler_of(function: Any, threads: HandlerThreads) -> Handler:
    """Return the handler that runs a function. Raises HandlerError for an unusable function."""
    name = name_of(function)
    call = function if _takes_context(function) else _without_context(function)
    models = models_of(function, name)
    if models.payload is not None:
        call = _with_model(call, models)
    return Handler(name=name, run=_run_job_of(function, call, threads), models=models)


def _run_job_of(function: Any, call: Callable[[Any, Any], Any], threads: HandlerThreads) -> RunJob:
    """Return `async (payload, ctx) -> result` for a call of the function."""
    if _is(inspect.isasyncgenfunction, function):
        return lambda payload, ctx: _read_async(call(payload, ctx), ctx)
    if _is(inspect.iscoroutinefunction, function):
        return call  # already checked: runs unchanged
    return _in_thread(call, threads)


def _without_context(function: Any) -> Callable[[Any, Any], Any]:
    return lambda payload, _ctx: function(payload)


def _with_model(call: Callable[[Any, Any], Any], models: Models) -> Callable[[Any, Any], Any]:
    return lambda payload, ctx: call(models.parse(payload), ctx)


def _is(test: Callable[[Any], bool], function: Any) -> bool:
    """Return whether the test holds for the function, a partial's function, or an object's `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return test(function) or test(getattr(type(function), "__call__", None))  # noqa: B004  # only the kind matters


def _takes_context(function: Any) -> bool:
    """Return whether the function takes (payload, ctx), not (payload). Raises HandlerError for a different signature.

    A second parameter with a default gets the context only by name or annotation.
    """
    name = name_of(function)
    if inspect.isclass(function) or not callable(function):
        kind = type(function).__name__
        raise HandlerError(f"{name}: a handler is a function (payload, ctx), and this is an object of type {kind}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        remedy = "wrap it in a function (payload, ctx)"
        raise HandlerError(f"{name}: its parameters cannot be read", remedy=remedy) from error
    parameters = list(signature.parameters.values())
    _check_bound(name, function, parameters)
    if not _accepts(signature, 1):
        if _accepts(signature, 2):
            return True
        raise HandlerError(f"{name}{signature}: a handler takes (payload, ctx) or (payload)")
    if not _accepts(signature, 2):
        return False
    return len(parameters) < 2 or parameters[1].kind not in _POSITIONAL or _asks_for_context(parameters[1])  # noqa: PLR2004


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _asks_for_context(parameter: inspect.Parameter) -> bool:
    return parameter.name in _CONTEXT_NAMES or _CONTEXT_TYPE.search(str(parameter.annotation)) is not None


def _check_bound(name: str, function: Any, parameters: list[inspect.Parameter]) -> None:
    """Raise HandlerError for a method without an object, such as a method registered inside a class."""
    if parameters and parameters[0].name in {"self", "cls"} and parameters[0].default is inspect.Parameter.empty:
        owner, _, method = getattr(function, "__qualname__", "Agent.method").rpartition(".")
        raise HandlerError(
            f"{name}: it is a method without its object, so {parameters[0].name!r} would be the payload",
            remedy=f"register the bound method: app.handler(…)({owner.rpartition('.')[2] or 'Agent'}().{method})",
        )


def _in_thread(call: Callable[[Any, BlockingContext], Any], threads: HandlerThreads) -> RunJob:
    async def run(payload: Any, ctx: Context) -> Any:
        blocking = ctx.blocking()
        result = await threads.run(lambda: _read(call(payload, blocking), blocking))
        while inspect.isawaitable(result):
            result = await result
        return await _read_async(result, ctx) if inspect.isasyncgen(result) else result

    return run


def _read(result: Any, ctx: BlockingContext) -> Any:
    """Read a generator to the end, publishing each value as progress; return a different value unchanged."""
    if not inspect.isgenerator(result):
        return result
    last = None
    for last in result:
        ctx.progress(last)
    return last


async def _read_async(steps: Any, ctx: Context) -> Any:
    last = None
    try:
        async for last in steps:
            await ctx.progress(last)
    finally:
        await steps.aclose()
    return last
