"""Handlers that log their actions, each line at once, so a checker can explain every run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time

from agentpool_core.errors import BudgetExceededError
from agentpool_worker import App

app = App()
_file = os.open(os.environ["CHAOS_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def record(what: str, ctx: object, **more: object) -> None:
    """Append a line; the monotonic clock is the same for all processes of the machine."""
    lease = ctx._lease
    line = {"what": what, "job": lease.job_id, "token": lease.token, "attempt": lease.attempt}
    line |= {"worker": os.environ["AGENTPOOL_WORKER"], "pid": os.getpid(), "at": time.monotonic(), **more}
    os.write(_file, json.dumps(line).encode() + b"\n")


@app.handler("nap", "code", "text")
async def nap(payload, ctx):
    record("start", ctx, parents=dict(ctx.parents))
    await asyncio.sleep(payload["s"])
    record("end", ctx)
    return payload["n"]


@app.handler("flaky")
async def flaky(payload, ctx):
    record("start", ctx, parents=dict(ctx.parents))
    await asyncio.sleep(payload["s"])
    if ctx.attempt <= payload["fails"]:
        record("fail", ctx)
        raise RuntimeError("as asked")
    record("end", ctx)
    return payload["n"]


@app.handler("hang")
async def hang(payload, ctx):
    record("start", ctx, parents=dict(ctx.parents))
    await asyncio.sleep(3600)


@app.handler("poison")
async def poison(payload, ctx):
    """End the worker under all running jobs, in the requested way."""
    record("start", ctx, parents=dict(ctx.parents))
    await asyncio.sleep(payload["s"])
    if payload["n"] % 2:
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)


@app.handler("steps")
async def steps(payload, ctx):
    """Each step is saved; an acknowledged checkpoint is never lost."""
    done = (ctx.state or {"done": 0})["done"]
    record("start", ctx, parents=dict(ctx.parents), done=done)
    for step in range(done, payload["steps"]):
        await asyncio.sleep(payload["s"])
        await ctx.checkpoint({"done": step + 1})
        record("saved", ctx, done=step + 1)
    record("end", ctx)
    return payload["n"]


@app.handler("agent")
async def agent(payload, ctx):
    """Steps with output, waits for signals, a rest, and a last step: no committed step runs again."""
    record("start", ctx, parents=dict(ctx.parents))
    numbers = itertools.count(1)
    for step in range(payload["steps"]):
        await agent_step(step, payload, ctx, numbers)
    signals = [await ctx.wait_for("go") for _ in range(payload["signals"])]
    await ctx.sleep(payload["rest"])
    await agent_step("last", payload, ctx, numbers)
    record("end", ctx, signals=signals)
    return payload["n"]


@app.handler("spend")
async def spend(payload, ctx):
    """Calls that cost money: reserved, or after a look whether money is left. No money left: the job ends early."""
    record("start", ctx, parents=dict(ctx.parents))
    with contextlib.suppress(BudgetExceededError):
        for _ in range(payload["calls"]):
            await ctx.charge(payload["cost"] if payload["reserves"] else 0)
            await asyncio.sleep(payload["s"])
            await ctx.usage(cost=payload["cost"])
            record("paid", ctx, cost=payload["cost"])
    record("end", ctx)
    return payload["n"]


async def agent_step(step, payload, ctx, numbers):
    async def work():
        record("step", ctx, step=step)
        for _ in range(payload["chunks"]):
            await ctx.emit(step)
            record("emitted", ctx, number=next(numbers))
        await asyncio.sleep(payload["s"])

    await ctx.step(f"step-{step}", work)
    record("stepped", ctx, step=step)
