"""The handlers that benchmarks run: work of a known length."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_worker import App
from bench.token_ledger import TokenLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@app.handler("approval")
async def approval(_payload: None, ctx: Context) -> float:
    """Wait for a signal; return the machine's monotonic clock behind the wait."""
    await ctx.wait_for("go")
    return time.monotonic()


@app.handler("stream")
async def stream(payload: dict[str, Any], ctx: Context) -> None:
    """Emit tokens at a steady pace, in steps; note each acknowledged token in the ledger."""
    numbers = itertools.count(1)
    for part in range(payload["parts"]):
        await ctx.step(f"part-{part}", _emit_part, payload, part, ctx, numbers)


async def _emit_part(payload: dict[str, Any], part: int, ctx: Context, numbers: Iterator[int]) -> None:
    ledger, begun = _ledger(payload["ledger"]), time.monotonic()
    for token in range(payload["tokens"]):
        await asyncio.sleep(begun + token * payload["pace"] - time.monotonic())
        await ctx.emit([part, token, time.monotonic()])
        ledger.mark(payload["job"], ctx.steps.journal.lease.token, next(numbers))


@functools.cache
def _ledger(path: str) -> TokenLedger:
    return TokenLedger(Path(path))
