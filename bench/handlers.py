"""The handlers that benchmarks run: work of a known length."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agentpool_worker import App

if TYPE_CHECKING:
    from agentpool_worker import BlockingContext, Context

app = App()

TOOL_CALL_SECONDS = 0.05  # of a delegation


@app.handler("noop")
async def noop(_payload: None, _ctx: Context) -> None:
    """Cost nothing but the worker's own work."""


@app.handler("code", "text", "reasoning", "work")
async def work(seconds: float, _ctx: Context) -> None:
    """Take this long."""
    await asyncio.sleep(seconds)


@app.handler("delegation")
async def delegation(seconds: float, ctx: Context) -> None:
    """Model an agent: tool calls in sequence, with a checkpoint after each, yielding on request."""
    left = seconds if ctx.state is None else float(ctx.state)
    while left > TOOL_CALL_SECONDS:
        await asyncio.sleep(TOOL_CALL_SECONDS)
        left -= TOOL_CALL_SECONDS
        await ctx.checkpoint(left)
    await asyncio.sleep(left)


@app.handler("in-thread")
def in_thread(seconds: float, _ctx: BlockingContext) -> None:
    """Take this long, in a thread."""
    time.sleep(seconds)


@app.handler("fails-once")
async def fails_once(_payload: float, ctx: Context) -> int:
    """Succeed at the second attempt."""
    if ctx.attempt == 1:
        raise RuntimeError("the first attempt fails, for the sake of the measurement")
    return ctx.attempt


@app.handler("saves-state")
async def saves_state(seconds: float, ctx: Context) -> None:
    """Sleep this long twice, with a checkpoint in between."""
    await asyncio.sleep(seconds)
    await ctx.checkpoint({"half": "done"})
    await asyncio.sleep(seconds)
