"""What runs jobs: a program's functions, a container that speaks HTTP, or a process for each job.

All three look the same to the worker: a `HandlerSet` finds the `RunJob` of a kind, and that is awaited with the
payload and the job's context. To add a fourth, implement `HandlerSet` in a module of its own and name it in
`agentpool_worker.settings`.
Who takes over next: `agentpool_worker.execution` runs one job with what `find` returned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agentpool_worker.context import Context

    RunJob = Callable[[Any, Context], Awaitable[Any]]


class HandlerSet(Protocol):
    """Everything a worker needs to know of what runs its jobs."""

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The kinds of job it takes, sorted; None when it takes every kind."""

    def find(self, kind: str) -> RunJob | None:
        """What runs jobs of this kind, or None."""

    async def start(self) -> None:
        """Prepares what jobs need (a connection pool, say); called once, in the worker's event loop."""

    async def stop(self) -> None:
        """Releases it, also where `start` failed or was cancelled; no job runs any more."""
