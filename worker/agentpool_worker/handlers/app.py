"""The registry of a program's handlers: `app = App()`, then `@app.handler("kind")` on its functions.

For any shape of function (async, sync, generator of progress), registration checks the function once and wraps it into
the form that the worker runs (`agentpool_worker.handlers.shapes`). A mistake is reported at import time, with the
function's name and the remedy, not when the first job arrives. `agentpool_worker.jobs.execution` calls the result of
`find`.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from agentpool_core.errors import HandlerError
from agentpool_core.jobs import KIND_FORM, KIND_PATTERN
from agentpool_worker.handlers.shapes import handler_of
from agentpool_worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.queue.settings import JobSchema
    from agentpool_worker.handlers import RunJob
    from agentpool_worker.handlers.shapes import Handler

F = TypeVar("F", bound="Callable[..., Any]")

_KIND = re.compile(KIND_PATTERN)


class App:
    """A program's handlers by the kind of job they take."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Handler] = {}
        self._threads = HandlerThreads()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of job that have a handler, sorted."""
        return tuple(sorted(self._by_kind))

    def handler(self, *kinds: str) -> Callable[[F], F]:
        """Register the decorated function for these kinds of job.

        The function takes `(payload, ctx)` or `(payload)` and returns a JSON value. It may be async, sync (then it runs
        in a thread, with a `ctx` that blocks where the async context awaits), or a generator of either sort: each
        yielded value is published as progress, and the last value is the result. An awaitable returned by a sync
        function is awaited. A second parameter with a default gets the context only if named `ctx` or `context`. A
        payload that is annotated with a pydantic model arrives as an instance, and a model may be the result. Raises
        HandlerError for a function or kind that cannot be used.
        """
        if not kinds or not all(isinstance(kind, str) for kind in kinds):
            raise HandlerError(
                "app.handler takes the kinds of job", remedy='write @app.handler("kind") above the function'
            )

        def register(function: F) -> F:
            handler = handler_of(function, self._threads)
            for kind in kinds:
                self._add(kind, handler)
            return function

        return register

    def find(self, kind: str) -> RunJob | None:
        """Return the handler of this kind of job, or None."""
        handler = self._by_kind.get(kind)
        return None if handler is None else handler.run

    def schemas(self) -> tuple[JobSchema, ...]:
        """Return the schemas of the kinds whose handlers name pydantic models. Raises HandlerError."""
        found = (self._by_kind[kind].models.schema_of(kind) for kind in self.kinds)
        return tuple(schema for schema in found if schema is not None)

    async def start(self) -> None:
        """Do nothing: functions are ready when they are registered."""

    async def stop(self) -> None:
        """Do nothing: handler threads end with the process."""

    def _add(self, kind: str, handler: Handler) -> None:
        if not _KIND.fullmatch(kind):
            raise HandlerError(f"{handler.name}: {kind!r} is not a kind of job", remedy=f"use {KIND_FORM}")
        if kind in self._by_kind:
            raise HandlerError(
                f"{handler.name}: kind {kind!r} already has the handler {self._by_kind[kind].name}",
                remedy="remove a handler, or rename its kind",
            )
        self._by_kind[kind] = handler


def load(reference: str) -> App:
    """Return the App at `module:attribute` (attribute `app` if none is given).

    Raises HandlerError, with the cause chained, when there is no such module, attribute or App.
    """
    module_name, _, attribute = reference.partition(":")
    attribute = attribute or "app"
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a program beside the worker's working directory is found
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise HandlerError(
                f"app {reference!r}: there is no module {module_name!r} in the working directory or on PYTHONPATH",
                remedy="write module:attribute, for example my_agents:app",
            ) from error
        raise HandlerError(
            f"app {reference!r}: {module_name} needs the module {error.name!r}", remedy="install it"
        ) from error
    except Exception as error:
        raise HandlerError(f"app {reference!r}: importing it raised {type(error).__name__}: {error}") from error
    try:
        app = functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        problem = f"app {reference!r}: {module_name} has no {attribute!r}"
        raise HandlerError(problem, remedy=_name_an_app(module)) from error
    return _check_app(reference, app, module)


def _check_app(reference: str, app: Any, module: Any) -> App:
    if not isinstance(app, App):
        problem = f"app {reference!r}: it is a {type(app).__name__}, not an agentpool_worker.App"
        raise HandlerError(problem, remedy=_name_an_app(module))
    if not app.kinds:
        raise HandlerError(
            f"app {reference!r}: it has no handlers", remedy='write @app.handler("kind") above a function'
        )
    return app


def _name_an_app(module: Any) -> str:
    """Return the remedy: the names of the module's Apps, or how to make an App."""
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"it has the App {', '.join(names)}" if names else "write app = App() there"
