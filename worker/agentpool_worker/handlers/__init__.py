"""Handlers: a program's functions, a container with an HTTP server, or a process for each job.

All three look the same to the worker: a `HandlerSet` finds the `RunJob` of a kind, which is awaited with the payload
and the job's context. To add a fourth, implement `HandlerSet` in a new module here, select it in
`selection`, and describe it in `agentpool_core.spec.worker.Handler` and in the flags of `agentpool_worker.commands`.
`agentpool_worker.jobs.execution` runs a job with the result of `find`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agentpool_core.queue.settings import JobSchema
    from agentpool_worker.context import Context

    RunJob = Callable[[Any, Context], Awaitable[Any]]


class HandlerSet(Protocol):
    """The worker's interface to handlers."""

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """Return the accepted kinds, sorted; None for every kind."""

    def schemas(self) -> tuple[JobSchema, ...]:
        """Return the schemas of kinds, as far as the handlers describe them. Raises HandlerError."""

    def find(self, kind: str) -> RunJob | None:
        """Return the handler of this kind, or None."""

    async def start(self) -> None:
        """Prepare resources of jobs (such as a connection pool); called once, in the worker's event loop."""

    async def stop(self) -> None:
        """Release them, even if `start` failed or was cancelled; no job runs any more."""
