"""The handlers that benchmarks run: work of a known length."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentpool_worker import App

if TYPE_CHECKING:
    from agentpool_worker import Context

app = App()


@app.handler("noop")
async def noop(_payload: None, _ctx: Context) -> None:
    """Costs nothing but the worker's own work."""


@app.handler("code", "text", "reasoning", "work")
async def work(seconds: float, _ctx: Context) -> None:
    """Takes this long."""
    await asyncio.sleep(seconds)
