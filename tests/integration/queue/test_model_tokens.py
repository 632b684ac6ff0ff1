"""Rates of tokens in random sequences: every claim starts exactly the jobs whose tokens are free, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from agentpool_core.jobs import Lease
from agentpool_core.queue import Limit, LimitBy, Rate, RateUnit, Route
from agentpool_core.queue.usage import UsageReport
from tests.integration.queue.machine import QUANTUM_MS, TwoWorkersMachine, picks, run

ROUTE_TOKENS = 2  # of a job that declares none
rates = st.tuples(st.integers(1, 3), st.integers(3, 12))  # quanta for a token, and burst
estimates = st.none() | st.integers(0, 15)


@dataclass
class Bucket:
    """A rate in whole quanta: `full_at` is the time at which all tokens of the burst are free."""

    interval: int
    burst: int
    full_at: int = 0

    def free(self, now: int) -> int:
        behind = max(self.full_at, now) - (self.burst - 1) * self.interval
        return max(0, (now - behind) // self.interval + 1)

    def charge(self, now: int, tokens: int) -> None:
        debt_ends = now + 2 * self.burst * self.interval
        self.full_at = max(now, min(max(self.full_at, now) + tokens * self.interval, debt_ends))


@dataclass
class Run:
    """A running job, and what is left of its estimate."""

    lease: Lease
    worker: str
    left: int
    reports: int = 0
    used: int = 0  # tokens that it has reported


class Tokens(TwoWorkersMachine):
    """Jobs of two keys with a rate of tokens for each, of no key, and of a kind with an estimate of its route."""

    @initialize(of_x=rates, of_y=rates)
    def begin(self, of_x, of_y):
        self.now = 0
        self.buckets = {"x": Bucket(*of_x), "y": Bucket(*of_y)}
        self.wanted = {}  # job -> its key and its tokens
        self.waiting = {}  # job -> its place in the order of age
        self.running = {}  # job -> its run
        limits = (
            Limit(name="tpm", by=LimitBy.KEY, kinds=("kx",), rate=self.rate(*of_x)),
            Limit(name="whole", kinds=("ky",), rate=self.rate(*of_y)),
        )
        self.configure(routes=(Route(name="a", kinds=("kx", "ky"), tokens=ROUTE_TOKENS),), limits=limits)

    def rate(self, interval, burst):
        return Rate(count=2, period_ms=2 * interval * QUANTUM_MS, burst=burst, unit=RateUnit.TOKENS)

    @rule(jobs=st.lists(st.tuples(st.sampled_from(["x", "y", None]), estimates), min_size=1, max_size=4))
    def arrive(self, jobs):
        for name, tokens in jobs:
            self.await_next_ms()  # no two jobs have the same age
            kind, key = ("ky", None) if name == "y" else ("kx", name)
            (job,) = self.submit(self.request(kind=kind, limit_key=key, tokens=tokens))
            self.wanted[job] = (name, ROUTE_TOKENS if tokens is None else tokens)
            self.waiting[job] = self.entry(job)

    @rule(limit=st.integers(1, 6), worker=st.sampled_from(["w1", "w2"]))
    def start(self, limit, worker):
        leases = self.claim(limit, worker)
        assert [lease.job_id for lease in leases] == self.take(limit)
        for lease in leases:
            bucket, tokens = self.of(lease.job_id)
            left = 0 if bucket is None else min(tokens, 2 * bucket.burst)
            self.running[lease.job_id] = Run(lease, worker, left)

    def of(self, job):
        name, tokens = self.wanted[job]
        return self.buckets.get(name), tokens

    def take(self, limit):
        """Return the jobs that start: in order of age, and none before an earlier one that waits for the tokens."""
        taken, closed = [], set()
        for job in sorted(self.waiting, key=self.waiting.__getitem__):
            bucket, tokens = self.of(job)
            if len(taken) == limit:
                break
            if bucket:
                if id(bucket) in closed or bucket.free(self.now) < max(1, min(tokens, bucket.burst)):
                    closed.add(id(bucket))
                    continue
                bucket.charge(self.now, min(tokens, 2 * bucket.burst))
            taken.append(job)
        for job in taken:
            del self.waiting[job]
        return taken

    @rule(number=picks, tokens=st.integers(0, 12))
    def report(self, number, tokens):
        """Tokens beyond the estimate are taken at once, and a repeated report counts once."""
        job = self.pick(number)
        if job is None:
            return
        each = self.running[job]
        each.reports += 1
        usage = [UsageReport(input_tokens=tokens // 2, output_tokens=tokens - tokens // 2)]
        for _ in range(2):
            self.do(self.consumers[each.worker].use(each.lease, each.reports, usage))
        bucket, _ = self.of(job)
        if bucket:
            bucket.charge(self.now, max(0, tokens - each.left))
            each.left = max(0, each.left - tokens)
            each.used += tokens

    @rule(number=picks)
    def end(self, number):
        """The reported usage replaces the estimate; without a report the estimate stands."""
        job = self.pick(number)
        if job is None:
            return
        each = self.running.pop(job)
        for _ in range(2):
            self.succeed([each.lease], each.worker)
        self.free_rest(job, each, used=each.used > 0)

    def wait_again(self, job, each):
        """What is left of the estimate returns once, and the next start takes the estimate again."""
        self.free_rest(job, each, used=True)
        self.waiting[job] = self.entry(job)

    def free_rest(self, job, each, *, used):
        bucket, _ = self.of(job)
        if bucket and used:
            bucket.charge(self.now, -each.left)

    @rule(quanta=st.integers(1, 6))
    def pass_time(self, quanta):
        self.now += quanta
        self.jump(quanta * QUANTUM_MS)
        self.settle_down()

    def run_out(self):
        while self.waiting:
            self.start(6, "w1")
            self.pass_time(6)
        for each in self.running.values():
            self.succeed([each.lease], each.worker)


def test_a_claim_starts_exactly_the_jobs_whose_tokens_are_free(redis_url):
    """Random jobs, reports, ends, requeues and lost workers under rates of tokens."""
    run(Tokens, redis_url)
