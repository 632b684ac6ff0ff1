"""Tenants in random sequences: exact numbers of starts, order within a tenant, and the bound of fair queueing."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from agentpool_core.jobs import JobId
from agentpool_core.queue import Tenant
from agentpool_core.queue.completions import CancelOutcome
from tests.integration.queue.machine import PoolMachine, picks, run

NAMES = ("gold", "silver", "lead", None)  # None: jobs without a tenant, which share as a tenant of weight 1


class Turns(PoolMachine):
    """Tenants of one route and priority.

    Start-time fair queueing promises: while two tenants have waiting jobs, their starts by weight differ by at most one
    start of each, over any period.
    """

    @initialize(gold=st.integers(1, 4))
    def begin(self, gold):
        self.waiting = {name: [] for name in NAMES}  # jobs in the order of their submits
        self.requeued = []  # these have had their turn
        self.running = []
        self.owner = {}
        self.virtual = 0.0
        self.reweigh(gold)

    @rule(gold=st.integers(1, 4))
    def reweigh(self, gold):
        self.weights = {"gold": gold, "silver": 2, "lead": 1, None: 1}
        self.configure(tenants=(Tenant(name="gold", weight=gold), Tenant(name="silver", weight=2)))
        self.leads = {pair: [] for pair in itertools.combinations(NAMES, 2)}  # while both wait: lead of the first

    @rule(tenant=st.sampled_from(NAMES), count=st.integers(1, 6))
    def arrive(self, tenant, count):
        jobs = self.submit(*(self.request(tenant=tenant) for _ in range(count)))
        self.waiting[tenant] += jobs
        self.owner |= dict.fromkeys(jobs, tenant)

    @rule(limit=st.integers(1, 12), end=st.booleans())
    def start(self, limit, end):
        due = min(limit, sum(map(len, self.waiting.values())) + len(self.requeued))
        leases = self.claim(limit)
        assert len(leases) == due, "a slot stays free although a job waits"
        starts = self.take([lease.job_id for lease in leases])
        self.compare_shares(starts)
        if end:
            self.succeed(leases)
        else:
            self.running += leases

    def take(self, jobs):
        """Remove started jobs, each of which must be the first of its tenant; return the turns of each tenant."""
        starts = dict.fromkeys(NAMES, 0)
        for job in jobs:
            if job in self.requeued:
                assert job == min(self.requeued, key=self.entry)
                self.requeued.remove(job)
                continue
            tenant = self.owner[job]
            assert self.waiting[tenant].pop(0) == job
            starts[tenant] += 1
        return starts

    def compare_shares(self, starts):
        for (one, other), leads in self.leads.items():
            if not (self.waiting[one] and self.waiting[other]):
                leads.clear()
                continue
            before = leads[-1] if leads else Fraction(0)
            lead = Fraction(starts[one], self.weights[one]) - Fraction(starts[other], self.weights[other])
            leads += [before, before + lead]
            bound = Fraction(1, self.weights[one]) + Fraction(1, self.weights[other])
            assert max(leads) - min(leads) <= bound, (one, other)

    @rule(number=picks, again=st.booleans())
    def leave(self, number, again):
        """End a running job, or requeue it."""
        if not self.running:
            return
        lease = self.running.pop(number % len(self.running))
        if again:
            self.drain(lease)
            self.requeued.append(lease.job_id)
        else:
            self.succeed([lease])

    @rule(number=picks)
    def cancel(self, number):
        """A cancelled job takes no turn."""
        here = [*self.requeued, *itertools.chain.from_iterable(self.waiting.values())]
        if not here:
            return
        job = here[number % len(here)]
        assert self.do(self.producer.cancel(JobId(job))) is CancelOutcome.CANCELLED
        jobs = self.requeued if job in self.requeued else self.waiting[self.owner[job]]
        jobs.remove(job)

    @invariant()
    def virtual_time_never_decreases(self):
        text = self.do(self.redis.hget(f"{self.prefix}counters", "v:default:task"))
        assert float(text or 0) >= self.virtual
        self.virtual = float(text or 0)

    def run_out(self):
        while any(self.waiting.values()) or self.requeued:
            self.start(5, end=True)
        self.succeed(self.running)


def test_tenants_share_as_fair_queueing_promises(redis_url):
    """Random tenants, weights, requeues and cancels: no slot stays free, and no share exceeds its bound."""
    run(Turns, redis_url)
