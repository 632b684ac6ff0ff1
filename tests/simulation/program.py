"""The workers' program: a handler for each kind of job, and what the handlers know of their runs."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_worker.durable.child_requests import ChildOptions
from agentpool_worker.handlers.app import App

if TYPE_CHECKING:
    from agentpool_worker.context import Context
    from tests.simulation.story import Story

KINDS = ("work", "narrow", "flaky", "steps", "waits", "parent", "starter", "stubborn", "deadly")  # of the client
SIGNALS = (("on", "late"), ("go", 1), ("go", 2))  # in the order of their sending
STEPS = ("first", "second", "third")


@dataclass
class Facts:
    """The handlers' record of all jobs, by job id."""

    starts: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))  # of each run: its checkpoint
    saved: dict[str, Any] = field(default_factory=dict)  # the last acknowledged checkpoint
    committed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # acknowledged steps
    emitted: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))  # acknowledged output
    tried: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))  # output, acknowledged or not
    parents: dict[str, dict[str, Any]] = field(default_factory=dict)  # results that the last run got
    deaths: Counter[str] = field(default_factory=Counter)  # runs of jobs that may end their workers
    broken: list[str] = field(default_factory=list)  # promises that a run has seen broken
    forgotten: bool = False  # Redis has lost writes, so the record may tell of more than the queue

    def forget(self) -> None:
        """Expect nothing of what was acknowledged so far."""
        self.forgotten = True
        for acknowledged in (self.saved, self.committed, self.emitted):
            acknowledged.clear()


class Program:
    """Handlers that write a story. `die` ends the machine on which it is called."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.die: Callable[[], None]
        self.facts = Facts()

    def app(self) -> App:
        """Return the registry of all handlers."""
        app = App()
        for kind in (*KINDS, "child"):
            app.handler(kind)(getattr(self, kind))
        return app

    def _begin(self, ctx: Context) -> None:
        job, facts = str(ctx.job_id), self.facts
        self._story.add(f"job {job}", f"runs (attempt {ctx.attempt})")
        facts.starts[job].append(ctx.state)
        saved = facts.saved.get(job)
        if ctx.state is None and saved is not None and saved["attempt"] < ctx.attempt:
            facts.broken.append(f"{job} has lost its checkpoint {saved}")
        facts.parents[job] = {str(parent): result for parent, result in ctx.parents.items()}

    async def work(self, payload: Any, ctx: Context) -> Any:
        """Work, with a checkpoint in the middle and output before and after."""
        self._begin(ctx)
        await self._emit(ctx, "begun")
        await asyncio.sleep(payload["seconds"])
        await self._checkpoint(ctx)
        await asyncio.sleep(payload["seconds"] / 2)
        await self._emit(ctx, "done")
        return {"attempt": ctx.attempt}

    async def narrow(self, payload: Any, ctx: Context) -> Any:
        """Work in a route with a limit."""
        self._begin(ctx)
        await asyncio.sleep(payload["seconds"])
        return "done"

    async def flaky(self, payload: Any, ctx: Context) -> Any:
        """Fail some attempts."""
        self._begin(ctx)
        await asyncio.sleep(payload["seconds"] / 4)
        if ctx.attempt <= payload["fails"]:
            raise ValueError(f"attempt {ctx.attempt} fails")
        return ctx.attempt

    async def steps(self, payload: Any, ctx: Context) -> Any:
        """Take durable steps."""
        self._begin(ctx)
        job = str(ctx.job_id)

        def step_of(name: str) -> Any:
            async def step() -> str:
                if name in self.facts.committed[job]:
                    self.facts.broken.append(f"{job} takes its step {name} again after it was stored")
                await asyncio.sleep(payload["seconds"] / 3)
                return name

            return step

        taken = []
        for name in STEPS:
            taken.append(await ctx.step(name, step_of(name)))
            self.facts.committed[job].add(name)
        return taken

    async def waits(self, payload: Any, ctx: Context) -> Any:
        """Wait for signals, in another order than that of their sending."""
        self._begin(ctx)
        return [await ctx.wait_for(name, timeout=8.0) for name in ("go", "go", "on")]

    async def parent(self, payload: Any, ctx: Context) -> Any:
        """Wait for three children, the first of which may fail."""
        self._begin(ctx)
        children = [{"seconds": 0.05, "fails": payload["fails"]}, *[{"seconds": payload["seconds"], "fails": 0}] * 2]
        return await ctx.map("child", children, ChildOptions(max_attempts=1), max_running=payload["at_once"])

    async def starter(self, payload: Any, ctx: Context) -> Any:
        """Start children, and wait for none."""
        self._begin(ctx)
        for number in range(3):
            options = ChildOptions(key=str(number))
            await ctx.submit("child", {"seconds": payload["seconds"], "fails": 0}, options)
            await asyncio.sleep(payload["seconds"] / 4)
        return "started"

    async def child(self, payload: Any, ctx: Context) -> Any:
        """Work, or fail."""
        self._begin(ctx)
        await asyncio.sleep(payload["seconds"])
        if payload["fails"]:
            raise ValueError("the child fails")
        return ctx.attempt

    async def deadly(self, payload: Any, ctx: Context) -> Any:
        """End the worker in some attempts."""
        self._begin(ctx)
        self.facts.deaths[str(ctx.job_id)] += 1
        if self.facts.deaths[str(ctx.job_id)] <= payload["fails"]:
            self.die()
        await asyncio.sleep(payload["seconds"])
        return "alive"

    async def stubborn(self, payload: Any, ctx: Context) -> Any:
        """Work on after a request to stop."""
        self._begin(ctx)
        try:
            await asyncio.sleep(payload["seconds"])
        except asyncio.CancelledError:
            await asyncio.sleep(payload["seconds"])
            raise
        return "done"

    async def _checkpoint(self, ctx: Context) -> None:
        state = {"attempt": ctx.attempt}
        await ctx.checkpoint(state)
        self.facts.saved[str(ctx.job_id)] = state

    async def _emit(self, ctx: Context, value: Any) -> None:
        self.facts.tried[str(ctx.job_id)].append(value)
        await ctx.emit(value)
        self.facts.emitted[str(ctx.job_id)].append(value)
