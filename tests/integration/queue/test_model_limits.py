"""Jobs under several limits at once: no limit is exceeded, and no job waits whose limits all have room.

A key, a tenant, a kind and a route bound jobs at once; bounds change, workers are lost, and jobs are cancelled. The
machine predicts no order: a job that is held by one limit while another one fills may wait for either of them.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from agentpool_core.jobs import Lease
from agentpool_core.queue import Limit, LimitBy, Route
from agentpool_core.queue.overrides import override
from tests.integration.queue.machine import TwoWorkersMachine, picks, run

KEYS, TENANTS, KINDS = ("x", "y", None), ("s", "t", None), ("a", "b", "c")
ROUTE_MOST, KIND_MOST = 3, 2
LAP_MS = 20_000  # of the audit: a job that was let go keeps the room until then, although its route has filled
VAIN_MOST = 60  # claims without a job: each may pass a job from one limit to another, and so make room for a third
VAIN_A_LAP = 15
bounds = st.integers(1, 3)


class Run(NamedTuple):
    """A running job: key, tenant and kind, and where it runs."""

    limits: tuple[str | None, str | None, str]
    worker: str
    lease: Lease


class Limits(TwoWorkersMachine):
    """Kinds a and b share a route with a bound; kind c has a bound of its own; keys and tenants bound all kinds."""

    @initialize(of_key=bounds, of_tenant=bounds)
    def begin(self, of_key, of_tenant):
        self.of_key, self.of_tenant = of_key, of_tenant
        self.own = {}  # bound of a single key
        self.waiting = {}  # job -> its key, tenant and kind
        self.running = {}  # job -> its run
        self.configure(
            routes=(Route(name="ab", kinds=("a", "b"), max_running=ROUTE_MOST),),
            limits=(
                Limit(name="keys", by=LimitBy.KEY, max_running=of_key),
                Limit(name="tenants", by=LimitBy.TENANT, max_running=of_tenant),
                Limit(name="kind", kinds=("c",), max_running=KIND_MOST),
            ),
        )

    @rule(jobs=st.lists(st.sampled_from(list(product(KEYS, TENANTS, KINDS))), min_size=1, max_size=6))
    def arrive(self, jobs):
        requests = [self.request(kind=kind, limit_key=key, tenant=tenant) for key, tenant, kind in jobs]
        self.waiting |= dict(zip(self.submit(*requests), jobs, strict=True))

    @rule(limit=st.integers(1, 20), worker=st.sampled_from(["w1", "w2"]))
    def start(self, limit, worker):
        for lease in self.claim(limit, worker):
            self.running[lease.job_id] = Run(self.waiting.pop(lease.job_id), worker, lease)

    @rule()
    def start_all(self):
        """After claims that find no more, and a lap of the audit, each job that waits has a limit without room."""
        vain = 0
        while vain < VAIN_MOST:
            leases = self.claim(20)
            vain = 0 if leases else vain + 1
            for lease in leases:
                self.running[lease.job_id] = Run(self.waiting.pop(lease.job_id), "w1", lease)
            if vain % VAIN_A_LAP == 1:
                self.jump(LAP_MS)
                self.settle_down()
        used = self.used()
        for job, limits in self.waiting.items():
            assert any(used[name] >= self.most(name) for name in self.named(limits)), (job, limits)

    def used(self):
        return Counter(name for each in self.running.values() for name in self.named(each.limits))

    def named(self, limits):
        """The limits of a job, by name."""
        key, tenant, kind = limits
        found = [("kind", kind)] if kind == "c" else [("route", "ab")]
        return found + [pair for pair in (("key", key), ("tenant", tenant)) if pair[1] is not None]

    def most(self, name):
        sort, subject = name
        fixed = {"kind": KIND_MOST, "route": ROUTE_MOST, "key": self.of_key, "tenant": self.of_tenant}
        return self.own.get(subject, fixed[sort]) if sort == "key" else fixed[sort]

    @rule(number=picks)
    def end(self, number):
        if (job := self.pick(number)) is not None:
            each = self.running.pop(job)
            self.succeed([each.lease], each.worker)

    def wait_again(self, job, each):
        """The job returns its places under all limits."""
        self.waiting[job] = each.limits

    @rule(key=st.sampled_from(["x", "y"]), bound=st.none() | bounds)
    def give_a_key_a_bound(self, key, bound):
        """Jobs that run above a lower bound go on."""
        self.do(override(self.redis, self.pool, "keys", key, bound))
        self.own.pop(key, None)
        if bound is not None:
            self.own[key] = bound

    @invariant()
    def no_bound_is_exceeded(self):
        """A key may have more only because its bound was lowered meanwhile."""
        for name, count in self.used().items() if hasattr(self, "own") else ():
            assert count <= (3 if name[0] == "key" else self.most(name)), name

    def run_out(self):
        while self.waiting or self.running:
            self.start_all()
            for each in self.running.values():
                self.succeed([each.lease], each.worker)
            self.running = {}


def test_no_limit_is_exceeded_and_no_job_waits_without_a_reason(redis_url):
    """Random jobs under a key, a tenant, a kind and a route, with bounds that change and workers that are lost."""
    run(Limits, redis_url)
