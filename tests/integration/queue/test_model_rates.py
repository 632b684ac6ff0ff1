"""Rates in random sequences: every claim starts exactly the jobs that the generic cell rate algorithm lets start."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from agentpool_core.queue import Limit, LimitBy, Rate, Route
from agentpool_core.queue.completions import Returned, ReturnReason
from tests.integration.queue.machine import QUANTUM_MS, WaitingMachine, picks, run

rates = st.tuples(st.integers(1, 3), st.integers(1, 3))  # quanta between two starts, and burst


@dataclass
class Bucket:
    """A rate in whole quanta: `full_at` is the time at which the bucket would be full again."""

    interval: int
    burst: int
    full_at: int = 0
    paused_until: int = 0

    def has_room(self, now: int) -> bool:
        return self.paused_until <= now and max(self.full_at, now) - (self.burst - 1) * self.interval <= now

    def charge(self, now: int) -> None:
        self.full_at = max(self.full_at, now) + self.interval


class Rates(WaitingMachine):
    """Jobs of two keys with a rate for each, and jobs of the route `a` with a rate for the whole route."""

    @initialize(of_key=rates, of_route=rates)
    def begin(self, of_key, of_route):
        self.now = 0
        self.buckets = {"x": Bucket(*of_key), "y": Bucket(*of_key), "a": Bucket(*of_route)}
        self.names = {}  # job -> its bucket; None: no rate applies
        self.waiting = {}  # job -> its place in the order of age
        self.deferred = {}  # job -> the quantum at which the job is due
        self.running = []  # leases
        limits = (
            Limit(name="calls", by=LimitBy.KEY, rate=self.rate(*of_key)),
            Limit(name="all", routes=("a",), rate=self.rate(*of_route)),
        )
        self.configure(routes=(Route(name="a", kinds=("ka",)),), limits=limits)

    def rate(self, interval, burst):
        return Rate(count=2, period_ms=2 * interval * QUANTUM_MS, burst=burst)

    @rule(names=st.lists(st.sampled_from(["a", "x", "y", None]), min_size=1, max_size=5))
    def arrive(self, names):
        for name in names:
            self.await_next_ms()  # no two jobs have the same age
            kind, key = ("ka", None) if name == "a" else ("kb", name)
            (job,) = self.submit(self.request(kind=kind, limit_key=key))
            self.names[job] = name
            self.waiting[job] = self.entry(job)

    @rule(limit=st.integers(1, 8))
    def start(self, limit):
        leases = self.claim(limit)
        assert [lease.job_id for lease in leases] == self.take(limit)
        self.running += leases

    def take(self, limit):
        """Return the jobs that start: in order of age, as far as all their buckets have room."""
        taken = []
        for job in sorted(self.waiting, key=self.waiting.__getitem__):
            bucket = self.buckets.get(self.names[job])
            if len(taken) == limit or (bucket and not bucket.has_room(self.now)):
                continue
            taken.append(job)
            if bucket:
                bucket.charge(self.now)
        for job in taken:
            del self.waiting[job]
        return taken

    @rule(number=picks)
    def end(self, number):
        if self.running:
            self.succeed([self.running.pop(number % len(self.running))])

    @rule(number=picks)
    def requeue(self, number):
        """A drained job waits again at its old place; its next start is charged again."""
        if self.running:
            lease = self.running.pop(number % len(self.running))
            self.drain(lease)
            self.waiting[lease.job_id] = self.entry(lease.job_id)

    @rule(number=picks, quanta=st.integers(1, 4))
    def overload(self, number, quanta):
        """A provider asks for a pause: it stops the rate of the job, and defers the job itself."""
        keyed = [lease for lease in self.running if self.names[lease.job_id] in {"x", "y"}]
        if not keyed:
            return
        lease = keyed[number % len(keyed)]
        self.running.remove(lease)
        returned = Returned(
            job_id=lease.job_id, token=lease.token, reason=ReturnReason.OVERLOADED, after_ms=quanta * QUANTUM_MS
        )
        self.do(self.consumers["w1"].settle([returned]))
        self.buckets[self.names[lease.job_id]].paused_until = self.now + quanta
        self.deferred[lease.job_id] = self.now + quanta

    @rule(quanta=st.integers(1, 4))
    def pass_time(self, quanta):
        self.now += quanta
        self.jump(quanta * QUANTUM_MS)
        self.settle_down()
        for job in [job for job, due in self.deferred.items() if due <= self.now]:
            del self.deferred[job]
            self.waiting[job] = self.entry(job)

    def run_out(self):
        while self.waiting or self.deferred:
            self.start(100)
            self.pass_time(3)
        self.succeed(self.running)


def test_a_claim_starts_exactly_the_jobs_within_their_rates(redis_url):
    """Random jobs, pauses, requeues and cancels under a rate for each key and a rate for a route."""
    run(Rates, redis_url)
