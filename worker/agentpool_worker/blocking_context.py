"""The context of a sync handler, which runs in a thread: `Context` with the same names, but nothing is awaited."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

from agentpool_core.queue.codec.signals import check_signal
from agentpool_worker.durable.child_requests import Child, ChildOptions
from agentpool_worker.durable.children import GroupPolicy
from agentpool_worker.durable.steps import StepOptions, bound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import timedelta

    from agentpool_core.jobs import Receipt
    from agentpool_worker.context import Context

_ONCE = StepOptions()


class BlockingContext:
    """An attempt at a job, as seen by a sync handler in its thread: like `Context`, but nothing is awaited."""

    __slots__ = ("_ctx", "_loop")

    def __init__(self, ctx: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        """Return attributes that need no waiting from the async context: job_id, kind, attempt, state, …."""
        return getattr(self._ctx, name)

    def checkpoint(self, state: Any) -> Any:
        """Save the job's state; see `Context.checkpoint`. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.checkpoint(state))

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        options: StepOptions | None = None,
        **keywords: Any,
    ) -> Any:
        """Run a durable step; see `Context.step`. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        if self._in_loop():
            return self._ctx.step(name, function, *args, options=options, **keywords)
        steps = self._ctx.steps
        work = bound(name, function, args, keywords)
        call = steps.begin(name)
        try:
            return self._wait(steps.run(call, work, options or _ONCE))
        finally:
            steps.end(call)

    def sleep(self, delay: timedelta | float) -> Any:
        """Wait without a slot; see `Context.sleep`. Raises CancelledError in a job that must stop."""
        return self._wait_durably(None, delay)

    def wait_for(self, signal: str, *, timeout: timedelta | float | None = None, question: Any = None) -> Any:
        """Wait for a signal without a slot; see `Context.wait_for`. Raises CancelledError in a job that must stop."""
        check_signal(signal)
        return self._wait_durably(signal, timeout, question)

    def _wait_durably(self, signal: str | None, limit: timedelta | float | None, question: Any = None) -> Any:
        self._raise_if_cancelled()
        if self._in_loop():
            if signal is None:
                return self._ctx.sleep(limit or 0.0)
            return self._ctx.wait_for(signal, timeout=limit, question=question)
        call = self._ctx.waits.begin(signal, limit)
        try:
            return self._wait(self._ctx.waits.run(call, signal, limit, question))
        finally:
            self._ctx.steps.end(call)

    def map(
        self,
        kind: str,
        payloads: Iterable[Any],
        options: ChildOptions | None = None,
        *,
        max_running: int | None = None,
        return_exceptions: bool = False,
        name: str | None = None,
    ) -> Any:
        """Start a child job for each payload; see `Context.map`. Raises CancelledError in a job that must stop."""
        children = [Child(kind=kind, payload=payload, options=options) for payload in payloads]
        return self.gather(*children, max_running=max_running, return_exceptions=return_exceptions, name=name or kind)

    def gather(
        self,
        *children: Child,
        max_running: int | None = None,
        return_exceptions: bool = False,
        name: str = "gather",
    ) -> Any:
        """Start children, return their results; see `Context.gather`. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        if self._in_loop():
            return self._ctx.gather(*children, max_running=max_running, return_exceptions=return_exceptions, name=name)
        call, requests = self._ctx.begin_group(children, name)
        try:
            policy = GroupPolicy(max_running=max_running, return_exceptions=return_exceptions)
            return self._wait(self._ctx.children.run(call, requests, policy))
        finally:
            self._ctx.steps.end(call)

    def emit(self, value: Any) -> Any:
        """Append a chunk to the job's output; see `Context.emit`. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.emit(value))

    def usage(
        self, *, input_tokens: int = 0, output_tokens: int = 0, cost: float | None = None, model: str | None = None
    ) -> Any:
        """Report the usage of a call of a model; see `Context.usage`. Does not end a job that must stop."""
        report = self._ctx.usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost, model=model)
        return self._wait(report)

    def charge(self, cost: float = 0.0) -> Any:
        """Reserve money for a call; see `Context.charge`. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.charge(cost))

    def patched(self, name: str) -> Any:
        """Return whether this job takes a changed part of the program; see `Context.patched`."""
        return self._wait(self._ctx.patched(name))

    def progress(self, value: Any) -> Any:
        """Publish the job's progress. Raises CancelledError in a job that must stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.progress(value))

    def submit(self, kind: str, payload: Any = None, options: ChildOptions | None = None) -> Receipt:
        """Submit a child job to the same pool; see `Context.submit`."""
        receipt: Receipt = self._wait(self._ctx.submit(kind, payload, options))
        return receipt

    def _in_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _raise_if_cancelled(self) -> None:
        # A thread cannot be interrupted from outside, so a report asks the thread to stop.
        if self._ctx.cancelled:
            raise asyncio.CancelledError

    def _wait(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Block until the call has ended; inside a coroutine return it as an awaitable instead.

        A wrapper of an async handler runs in a thread and passes this context to the coroutine that it returns.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            try:
                return asyncio.run_coroutine_threadsafe(call, self._loop).result()
            except concurrent.futures.CancelledError:  # an Exception, which a handler's `except Exception` would stop
                raise asyncio.CancelledError from None
        if running is self._loop:
            return call
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))
