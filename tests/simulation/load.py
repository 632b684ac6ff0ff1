"""The jobs of a schedule, and a client that submits, cancels, signals and awaits them; `program` has their handlers.

Each job's plan comes from the seed. The client gives every job an id, so it may repeat a submit whose answer was lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_core.client import Client
from agentpool_core.errors import (
    AgentPoolError,
    JobEndedError,
    QueueError,
    SignalRefusedError,
    SubmitUnknownError,
    UnknownJobError,
)
from agentpool_core.jobs import Priority
from agentpool_core.queue import PoolSettings, Route
from agentpool_core.queue.limits import Limit, LimitBy, Rate
from tests.simulation.fleet import URL
from tests.simulation.program import KINDS

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from tests.simulation.story import Story

LEASE_MS = 2_000
AGAIN_SECONDS = 0.5  # between two submits of a job with an unknown outcome
SETTINGS = PoolSettings(
    routes=(Route(name="narrow", kinds=("narrow",), max_running=1),),
    limits=(
        Limit(name="one-a-key", by=LimitBy.KEY, max_running=1),
        Limit(name="two-a-tenant", by=LimitBy.TENANT, max_running=2),
        Limit(name="slowly", kinds=("flaky",), rate=Rate(count=4, period_ms=1_000)),
    ),
    concurrency=3,
    lease_ms=LEASE_MS,
    timeout_ms=6_000,
    max_attempts=4,
    retry_initial_ms=200,
    retry_max_ms=1_000,
    keep_wait_ms=100,
    drain_ms=1_000,
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job of the schedule."""

    job_id: str
    kind: str
    at: float  # seconds: the submit
    seconds: float  # of the handler's work
    fails: int = 0  # attempts
    cancel_after: float | None = None  # seconds from the submit
    signal_after: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_limited(self) -> bool:
        """Whether more than slots and order decide on the start."""
        return self.kind in {"narrow", "flaky"} or not {"limit_key", "tenant"}.isdisjoint(self.options)

    @property
    def payload(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "fails": self.fails}


def plans(chance: random.Random, *, until: float) -> Iterator[Plan]:
    """Yield the jobs of a schedule."""
    earlier: list[str] = []
    for number in range(1, chance.randint(5, 9)):
        kind = chance.choice(("work", *KINDS))
        options: dict[str, Any] = {"priority": chance.choice(list(Priority)), "preemptible": chance.random() < 0.3}
        if chance.random() < 0.2:
            options["delay"] = chance.uniform(0.1, 2.0)
        if chance.random() < 0.3:
            options["limit_key"] = chance.choice("kl")
        if chance.random() < 0.2:
            options["tenant"] = chance.choice("st")
        if chance.random() < 0.15:
            options["ttl"] = chance.uniform(0.1, 2.0)
        if chance.random() < 0.2:
            options["idempotency_key"] = f"key-{number}"
        if earlier and chance.random() < 0.25:
            options["after"] = [chance.choice(earlier)]
        yield Plan(
            job_id=f"j{number}",
            kind=kind,
            at=chance.uniform(0.0, until),
            seconds=chance.choice((0.0, 0.05, 0.5, chance.uniform(0.5, 3.0))),
            fails=chance.randint(1, 4) if kind == "flaky" else 0,
            cancel_after=chance.uniform(0.0, 3.0) if chance.random() < 0.15 else None,
            signal_after=chance.uniform(0.0, 3.0),
            options=options,
        )
        earlier.append(f"j{number}")


class Load:
    """The client's side of a schedule, and what it was told."""

    def __init__(self, story: Story, pool: PoolRef, jobs: list[Plan]) -> None:
        self._story, self._pool, self.jobs = story, pool, jobs
        self.acknowledged: dict[str, str | None] = {}  # job: the first state, where the receipt is of a new job
        self.cancelled: set[str] = set()  # acknowledged, while the job had not started
        self.broken: list[str] = []  # promises that a call has seen broken
        self.forgotten = False  # Redis has lost writes
        self.submitted_ms: dict[str, int] = {}  # virtual time of the receipts
        self.told_ms: dict[str, int] = {}  # virtual time of the answers to those that wait
        self.results: dict[str, str] = {}  # job: how the client saw it end

    def forget(self) -> None:
        """Expect nothing of what was acknowledged so far."""
        self.forgotten = True
        self.acknowledged.clear()
        self.cancelled.clear()

    async def run(self) -> None:
        """Submit all jobs, and await all ends."""
        async with Client(URL, pool=self._pool) as client, asyncio.TaskGroup() as group:
            for plan in self.jobs:
                group.create_task(self._live(client, plan))

    async def _live(self, client: Client, plan: Plan) -> None:
        await asyncio.sleep(plan.at)
        if not await self._submit(client, plan):
            return
        also = [asyncio.create_task(self._signal(client, plan))] if plan.kind == "waits" else []
        if plan.cancel_after is not None:
            also.append(asyncio.create_task(self._cancel(client, plan)))
        await self._await_end(client, plan)
        if "idempotency_key" in plan.options and not self.forgotten:
            await self._submit_twice(client, plan)
        await asyncio.gather(*also)

    async def _await_end(self, client: Client, plan: Plan) -> None:
        while True:
            try:
                self._end(plan, f"succeeded {await client.result(plan.job_id)!r}")
            except JobEndedError as error:
                self._end(plan, error.state)
            except UnknownJobError as error:  # Redis has lost it
                self._story.add("client", f"{plan.job_id}: {error}")
                if await self._submit(client, plan):
                    continue
            return

    def _end(self, plan: Plan, how: str) -> None:
        self.results[plan.job_id] = how
        self.told_ms.setdefault(plan.job_id, round(time.time() * 1000))
        self._story.add("client", f"{plan.job_id} has ended: {how}")

    async def _submit(self, client: Client, plan: Plan) -> bool:
        while True:
            self._story.add("client", f"submits {plan.job_id} ({plan.kind})")
            try:
                receipt = await client.submit(plan.kind, plan.payload, job_id=plan.job_id, **plan.options)
            except SubmitUnknownError as error:
                self._story.add("client", f"{plan.job_id}: {error}")
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            except AgentPoolError as error:  # such as an unknown parent, whose submit has not come through yet
                self._story.add("client", f"{plan.job_id} is refused: {error}")
                return False
            self.submitted_ms.setdefault(plan.job_id, round(time.time() * 1000))
            self.acknowledged[plan.job_id] = None if receipt.duplicate else receipt.state.value
            self._story.add("client", f"{plan.job_id} is {receipt.state.value}{' already' * receipt.duplicate}")
            return True

    async def _submit_twice(self, client: Client, plan: Plan) -> None:
        """Submit again under the key, without the id: the answer is the first job, or a conflict for a new body."""
        for payload in (plan.payload, {"other": True}):
            try:
                receipt = await client.submit(plan.kind, payload, **plan.options)
            except (AgentPoolError, SubmitUnknownError) as error:
                self._story.add("client", f"{plan.job_id} again: {type(error).__name__}")
                continue
            if receipt.job_id != plan.job_id or payload != plan.payload:
                self.broken.append(f"a submit under the key of {plan.job_id} gave {receipt.job_id}")

    async def _cancel(self, client: Client, plan: Plan) -> None:
        await asyncio.sleep(plan.cancel_after or 0.0)
        try:
            outcome = await client.cancel(plan.job_id)
        except QueueError as error:
            self._story.add("client", f"cancel of {plan.job_id}: {error}")
            return
        self._story.add("client", f"cancel of {plan.job_id}: {outcome.value}")
        if outcome.value == "cancelled":
            self.cancelled.add(plan.job_id)

    async def _signal(self, client: Client, plan: Plan) -> None:
        await asyncio.sleep(plan.signal_after)
        try:
            outcome = await client.signal(plan.job_id, "go", "now", id="once")
        except (QueueError, SignalRefusedError) as error:
            self._story.add("client", f"signal to {plan.job_id}: {error}")
            return
        self._story.add("client", f"signal to {plan.job_id}: {outcome.value}")
