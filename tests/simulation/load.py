"""A client that submits, cancels, signals and awaits the jobs of a schedule, by Python or over HTTP.

The client gives every job an id, so it may repeat a submit whose answer was lost. `verdict` judges what it was told.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agentpool_core.client import Client
from agentpool_core.errors import AgentPoolError, JobEndedError, QueueError, SubmitUnknownError, UnknownJobError
from tests.simulation.fleet import URL
from tests.simulation.front import NoAnswerError
from tests.simulation.program import SIGNALS

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from tests.simulation.front import Front
    from tests.simulation.story import Story
    from tests.simulation.workload import Plan

AGAIN_SECONDS = 0.5  # between two submits of a job with an unknown outcome, or two tries of a signal
SIGNAL_TRIES = 10


class Load:
    """The client's side of a schedule, and what it was told."""

    def __init__(self, story: Story, pool: PoolRef, jobs: list[Plan], front: Front) -> None:
        self._story, self._pool, self.jobs, self._front = story, pool, jobs, front
        self.acknowledged: dict[str, str | None] = {}  # job: the first state, where the receipt is of a new job
        self.cancelled: set[str] = set()  # acknowledged, while the job had not started
        self.broken: list[str] = []  # promises that a call has seen broken
        self.forgotten = False  # Redis has lost writes
        self.told_ms: dict[str, int] = {}  # virtual time of the answers to those that wait
        self.results: dict[str, str] = {}  # job: how the client saw it end
        self.signalled_ms: dict[str, int] = {}  # virtual time at which all signals were taken
        self.trees_ms: dict[str, int] = {}  # virtual time of the acknowledged cancel of all that a job has started

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
        replays = plan.replay
        while True:
            try:
                self._end(plan, await self._result(client, plan))
            except JobEndedError as error:
                self._end(plan, error.state)
                if replays and error.state == "failed" and await self._replay(client, plan):
                    replays = False
                    continue
            except UnknownJobError as error:  # Redis has lost it
                self._story.add("client", f"{plan.job_id}: {error}")
                if await self._submit(client, plan):
                    continue
            return

    async def _result(self, client: Client, plan: Plan) -> str:
        if not plan.by_http:
            return f"succeeded {await client.result(plan.job_id)!r}"
        found = await self._front.result(plan.job_id)
        return f"{found['state']} {found['result']!r}"

    def _end(self, plan: Plan, how: str) -> None:
        self.results[plan.job_id] = how
        self.told_ms.setdefault(plan.job_id, round(time.time() * 1000))
        self._story.add("client", f"{plan.job_id} has ended: {how}")

    async def _submit(self, client: Client, plan: Plan) -> bool:
        while True:
            self._story.add("client", f"submits {plan.job_id} ({plan.kind})")
            try:
                state, duplicate = await self._send(client, plan)
            except (SubmitUnknownError, NoAnswerError) as error:
                self._story.add("client", f"{plan.job_id}: {error}")
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            except AgentPoolError as error:  # such as an unknown parent, whose submit has not come through yet
                self._story.add("client", f"{plan.job_id} is refused: {error}")
                return False
            self.acknowledged[plan.job_id] = None if duplicate else state
            self._story.add("client", f"{plan.job_id} is {state}{' already' * duplicate}")
            return True

    async def _send(self, client: Client, plan: Plan) -> tuple[str, bool]:
        """Submit a job; return its state, and whether it was there before."""
        if plan.by_http:
            named = {"kind": plan.kind, "payload": plan.payload, "job_id": plan.job_id}
            answer = await self._front.submit({**named, **plan.options})
            return answer["state"], answer["duplicate"]
        receipt = await client.submit(plan.kind, plan.payload, job_id=plan.job_id, **plan.options)
        return receipt.state.value, receipt.duplicate

    async def _submit_twice(self, client: Client, plan: Plan) -> None:
        """Submit again under the key, without the id: the answer is the first job, or a conflict for a new body."""
        for payload in (plan.payload, {"other": True}):
            try:
                receipt = await client.submit(plan.kind, payload, **plan.options)
            except AgentPoolError as error:
                self._story.add("client", f"{plan.job_id} again: {type(error).__name__}")
                continue
            if receipt.job_id != plan.job_id or payload != plan.payload:
                self.broken.append(f"a submit under the key of {plan.job_id} gave {receipt.job_id}")

    async def _cancel(self, client: Client, plan: Plan) -> None:
        await asyncio.sleep(plan.cancel_after or 0.0)
        try:
            outcome = await client.cancel(plan.job_id, tree=plan.tree)
        except QueueError as error:
            self._story.add("client", f"cancel of {plan.job_id}: {error}")
            return
        self._story.add("client", f"cancel of {plan.job_id}: {outcome.value}")
        if plan.tree:
            self.trees_ms[plan.job_id] = round(time.time() * 1000)
        if outcome.value == "cancelled":
            self.cancelled.add(plan.job_id)

    async def _replay(self, client: Client, plan: Plan) -> bool:
        try:
            await client.replay(plan.job_id)
        except AgentPoolError as error:
            self._story.add("client", f"replay of {plan.job_id}: {error}")
            return False
        self._story.add("client", f"replays {plan.job_id}")
        return True

    async def _signal(self, client: Client, plan: Plan) -> None:
        """Send all signals, each of them twice, until each is taken."""
        await asyncio.sleep(plan.signal_after)
        for name, value in SIGNALS:
            for number in range(2):
                if not await self._send_signal(client, plan, name, value, again=number > 0):
                    return
        self.signalled_ms[plan.job_id] = round(time.time() * 1000)

    async def _send_signal(self, client: Client, plan: Plan, name: str, value: object, *, again: bool) -> bool:
        """Send a signal until it is answered; return whether the job took it."""
        for _ in range(SIGNAL_TRIES):
            try:
                outcome = await client.signal(plan.job_id, name, value, id=f"{name} {value}")
            except QueueError as error:
                self._story.add("client", f"signal to {plan.job_id}: {error}")
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            except AgentPoolError as error:
                self._story.add("client", f"signal to {plan.job_id}: {error}")
                return False
            self._story.add("client", f"signal {name}{' again' * again} to {plan.job_id}: {outcome.value}")
            return True
        return False
