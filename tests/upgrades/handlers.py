"""Handlers that use what 0.2.0 and this release both have: retries, steps, waits and output."""

from __future__ import annotations

import asyncio

from agentpool_worker import App

app = App()


@app.handler("echo")
async def echo(payload, ctx):
    await asyncio.sleep(0.01)
    return payload


@app.handler("flaky")
async def flaky(payload, ctx):
    if ctx.attempt == 1:
        raise RuntimeError("the first attempt fails")
    return payload


@app.handler("agent")
async def agent(payload, ctx):
    """Two steps with a wait and a sleep between them: an attempt of one release goes on in the other."""
    first = await ctx.step("first", work, payload)
    await ctx.emit(first)
    told = await ctx.wait_for("go", timeout=300)
    await ctx.sleep(0.2)
    return [first, told, await ctx.step("last", work, payload)]


async def work(payload):
    await asyncio.sleep(0.02)
    return payload
