"""AgentPool's worker: runs a pool's jobs, many at once, and loses none.

What a program that brings handlers needs is here; the parts of the worker are in the modules.

    from agentpool_worker import App

    app = App()

    @app.handler("greet")
    async def greet(payload, ctx):
        return {"greeting": f"Hello {payload['name']}"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_worker.app import App
from agentpool_worker.context import BlockingContext, ChildOptions, Context
from agentpool_worker.signals import Overloaded, Permanent, Retry

if TYPE_CHECKING:
    from agentpool_worker.worker import Worker

__all__ = ["App", "BlockingContext", "ChildOptions", "Context", "Overloaded", "Permanent", "Retry", "Worker"]


def __getattr__(name: str) -> Any:
    """`Worker` is imported when it is asked for: a program of handlers need not carry the worker's own imports."""
    if name == "Worker":
        from agentpool_worker.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
