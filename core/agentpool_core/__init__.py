"""AgentPool's client, and the bottom layer of all other packages.

The public API for programs that submit jobs is here. Each name is imported on first use, so a program pays for what it
uses.

    from agentpool_core import Client

    async with Client("redis://localhost:6379/0", pool="research/analysts") as client:
        receipt = await client.submit("summarize", {"url": "…"}, priority="critical")
        print(await receipt.result(timeout=60))

`client` has the methods, `errors` their errors. The package imports none of the packages above it (operator,
worker, gateway, local); import-linter enforces that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentpool_core.client import Client, NewJob, Receipt, SubmitOptions
    from agentpool_core.errors import (
        AgentPoolError,
        JobEndedError,
        NotDurableError,
        QueueFullError,
        ResultTimeoutError,
    )
    from agentpool_core.jobs import Durability, JobState, PoolRef, Priority
    from agentpool_core.queue.schedule import Schedule
    from agentpool_core.queue.selector import JobSelector
    from agentpool_core.sync_client import SyncClient, SyncReceipt

__all__ = [
    "AgentPoolError",
    "Client",
    "Durability",
    "JobEndedError",
    "JobSelector",
    "JobState",
    "NewJob",
    "NotDurableError",
    "PoolRef",
    "Priority",
    "QueueFullError",
    "Receipt",
    "ResultTimeoutError",
    "Schedule",
    "SubmitOptions",
    "SyncClient",
    "SyncReceipt",
]

DISTRIBUTION = "agentpool-core"  # the name to install; `agentpool` on the package index is a different project

_MODULES = {
    "AgentPoolError": "errors",
    "Client": "client",
    "Durability": "jobs",
    "JobEndedError": "errors",
    "JobSelector": "queue.selector",
    "JobState": "jobs",
    "NewJob": "client",
    "NotDurableError": "errors",
    "PoolRef": "jobs",
    "Priority": "jobs",
    "QueueFullError": "errors",
    "Receipt": "client",
    "ResultTimeoutError": "errors",
    "Schedule": "queue.schedule",
    "SubmitOptions": "client",
    "SyncClient": "sync_client",
    "SyncReceipt": "sync_client",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
