"""AgentPool's worker: runs a pool's jobs, many at once, without losing any.

The public API for handlers is here; the parts of the worker are in the modules. Each name is imported on first use, so
the supervisor of a worker stays small.

    from agentpool_worker import App

    app = App()

    @app.handler("greet")
    async def greet(payload, ctx):
        return {"greeting": f"Hello {payload['name']}"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentpool_core.errors import BudgetExceededError
    from agentpool_worker.context import BlockingContext, Context
    from agentpool_worker.durable.child_requests import Child, ChildOptions
    from agentpool_worker.durable.steps import StepOptions
    from agentpool_worker.exceptions import ChildFailedError, Overloaded, Permanent, Retry, StepFailedError
    from agentpool_worker.handlers.app import App
    from agentpool_worker.worker import Worker

__all__ = [
    "App", "BlockingContext", "BudgetExceededError", "Child", "ChildFailedError", "ChildOptions", "Context",
    "Overloaded", "Permanent", "Retry", "StepFailedError", "StepOptions", "Worker",
]  # fmt: skip

_MODULES = {
    "App": "handlers.app",
    "BlockingContext": "context",
    "BudgetExceededError": "agentpool_core.errors",
    "Child": "durable.child_requests",
    "ChildFailedError": "exceptions",
    "ChildOptions": "durable.child_requests",
    "Context": "context",
    "Overloaded": "exceptions",
    "Permanent": "exceptions",
    "Retry": "exceptions",
    "StepFailedError": "exceptions",
    "StepOptions": "durable.steps",
    "Worker": "worker",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES[name]
    full = module if module.startswith("agentpool_core.") else f"{__name__}.{module}"
    value = globals()[name] = getattr(import_module(full), name)
    return value
