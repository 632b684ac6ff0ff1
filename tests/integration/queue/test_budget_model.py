"""Random calls of many jobs against budgets of tenants and of all jobs, beside a model of a few lines.

Workers die between any two calls, answers are lost, windows end, and a tenant's budget changes. After each operation
the queue has spent the same money as the model, and no budget more than its amount and one call of each running job.
`AGENTPOOL_BUDGET_RUNS` sets the number of sequences.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.errors import BudgetExceededError
from agentpool_core.jobs import JobId, JobRequest, Lease, PoolRef, WorkerId
from agentpool_core.queue import Budget, Consumer, Inspector, Limit, LimitBy, PoolSettings, Producer, connect
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.overrides import override
from agentpool_core.queue.usage import BILLION, UsageReport
from tests.integration.queue.machine import sequences

RUNS = int(os.environ.get("AGENTPOOL_BUDGET_RUNS", "25"))
HOUR_MS = 3_600_000
TENANTS = ("a", "b", None)
LIMITS = (
    Limit(name="team", by=LimitBy.TENANT, budget=Budget(amount=6, window_ms=HOUR_MS)),
    Limit(name="all", budget=Budget(amount=9, window_ms=HOUR_MS)),
)
MOST_COST = 4  # of a call

BEGIN = [("submit", "a"), ("submit", "a"), ("submit", "b"), ("submit", None), ("claim",)]
costs = st.integers(0, MOST_COST)
jobs = st.integers(0, 4)  # place among the running jobs
calls = st.tuples(st.sampled_from(["reserve", "call"]), jobs, costs, st.booleans())  # whether the first answer is lost
operations = st.one_of(
    calls,
    calls,
    calls,
    st.tuples(st.just("submit"), st.sampled_from(TENANTS)),
    st.tuples(st.just("claim")),
    st.tuples(st.just("settle"), jobs),
    st.tuples(st.sampled_from(["crash", "next window"])),
    st.tuples(st.just("override"), st.sampled_from([None, 3, 12])),
)


@dataclass
class Running:
    """A run of a job, as its worker knows it."""

    lease: Lease
    tenant: str | None
    number: int = 0  # of the latest call that the queue has accepted
    reserved: deque[int] = field(default_factory=deque)


class Model:
    """A pool, and the money that its budgets should have spent."""

    def __init__(self, url):
        self.redis = connect(url)
        self.pool = PoolRef("budgets", uuid.uuid4().hex[:16])
        self.inspector, self.producer = Inspector(self.redis), Producer(self.redis, self.pool)
        self.consumer = Consumer(self.redis, self.pool, WorkerId("w"))
        self.tenant_of: dict[JobId, str | None] = {}  # of jobs that are queued
        self.running: list[Running] = []
        self.spent: Counter[str | None] = Counter()  # in this window, by tenant; None: of all jobs
        self.own: int | None = None  # the amount of tenant `a`
        self.most_running = 0  # in this window

    def budgets_of(self, tenant):
        """Return name and amount of the budgets of a tenant's jobs."""
        found = [(None, 9)]
        return found if tenant is None else [(tenant, self.own or 6 if tenant == "a" else 6), *found]

    def is_open(self, tenant):
        return all(self.spent[name] < amount for name, amount in self.budgets_of(tenant))

    async def run(self, sequence):
        await self.inspector.configure(self.pool, PoolSettings(limits=LIMITS, lease_ms=HOUR_MS * 1_000))
        await self.consumer.register(slots=1_000, host="h")
        now_ms = (await self.inspector.snapshot(self.pool)).taken_at_ms
        await self.pass_time(HOUR_MS - now_ms % HOUR_MS + 1_000)
        try:
            for verb, *details in sequence:
                await getattr(self, verb.replace(" ", "_"))(*details)
                await self.check()
        finally:
            await self.inspector.purge(self.pool)
            await self.redis.aclose()

    async def submit(self, tenant):
        receipt = await self.producer.submit(JobRequest(kind="k", tenant=tenant, max_attempts=100))
        self.tenant_of[receipt.job_id] = tenant

    async def claim(self):
        """Each job whose budgets have money left starts, and no other."""
        expected = {job for job, tenant in self.tenant_of.items() if self.is_open(tenant)}
        leases = await self.consumer.claim(1_000)
        assert {lease.job_id for lease in leases} == expected
        self.running += [Running(lease=lease, tenant=self.tenant_of.pop(lease.job_id)) for lease in leases]
        self.most_running = max(self.most_running, len(self.running))

    async def reserve(self, place, cost, lost):
        """Reserve money; the queue refuses what is not left, and counts a repeated call once."""
        if (run := self.at(place)) is None:
            return
        budgets = self.budgets_of(run.tenant)
        left = all(self.spent[name] < amount and self.spent[name] + cost <= amount for name, amount in budgets)
        for _ in range(1 + lost):
            try:
                await self.consumer.charge(run.lease, run.number + 1, cost * BILLION)
            except BudgetExceededError:
                assert not left
                return
        assert left
        run.number += 1
        run.reserved.append(cost)
        self.add(run, cost)

    async def call(self, place, cost, lost):
        """Report a call as adapters do: after a reservation, or after a look whether money is left."""
        if (run := self.at(place)) is None:
            return
        if not run.reserved:
            await self.reserve(place, 0, lost)
            if not run.reserved:
                return
        reserved = run.reserved.popleft()
        for _ in range(1 + lost):
            report = UsageReport(cost=cost)
            await self.consumer.use(run.lease, run.number + 1, [report], reserved=reserved * BILLION)
        run.number += 1
        self.add(run, cost - reserved)

    async def settle(self, place):
        if (run := self.at(place)) is not None:
            self.running.remove(run)
            await self.consumer.settle([Succeeded(job_id=run.lease.job_id, token=run.lease.token)])

    async def crash(self):
        """The worker leaves; its jobs run again, and money reserved for their calls stays spent."""
        await self.consumer.deregister()
        await self.consumer.register(slots=1_000, host="h")
        self.tenant_of |= {run.lease.job_id: run.tenant for run in self.running}
        self.running.clear()

    async def next_window(self):
        await self.pass_time(HOUR_MS)
        self.spent.clear()
        self.most_running = len(self.running)

    async def override(self, amount):
        self.own = amount
        await override(self.redis, self.pool, "team", "a", None if amount is None else Budget(amount=amount))

    def at(self, place):
        return self.running[place % len(self.running)] if self.running else None

    def add(self, run, money):
        for name, _ in self.budgets_of(run.tenant):
            self.spent[name] = max(0, self.spent[name] + money)

    async def pass_time(self, ms):
        await self.redis.hincrby(f"{Keys(self.pool).prefix}counters", "clock_offset_ms", ms)

    async def check(self):
        snapshot = await self.inspector.snapshot(self.pool)
        assert (snapshot.running, snapshot.queued + snapshot.held) == (len(self.running), len(self.tenant_of))
        (whole,) = [limit.budget for limit in snapshot.limits if limit.name == "all"]
        assert whole.spent == self.spent[None] <= 9 + self.most_running * MOST_COST
        for job in list(self.tenant_of)[:2]:
            if (budget := (await self.inspector.job(self.pool, job)).budget) is not None:
                tenant = self.tenant_of[job]
                assert (budget.spent, budget.amount) == (self.spent[tenant], dict(self.budgets_of(tenant))[tenant])


@sequences(RUNS)
@given(sequence=st.lists(operations, min_size=10, max_size=40))
def test_budgets_agree_with_the_model(redis_url, sequence):
    """Jobs start while money is left, reservations never overspend, and repeated calls count once."""
    asyncio.run(Model(redis_url).run(BEGIN + sequence))
