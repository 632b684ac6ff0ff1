"""Bases of the small state machines: a pool on a real server, and a clock that only jumps move.

Each machine compares the queue with the promises of one part (tenants, rates, conflicts, schedules, groups, release).
Quanta of the clock are far longer than a run, so the real milliseconds of a run change no outcome.
`AGENTPOOL_MODEL_RUNS` and `AGENTPOOL_MODEL_STEPS` set number and length of the runs, as for `test_model.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from agentpool_core.jobs import JobId, JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Returned, ReturnReason, Succeeded
from tests.fixtures.redis import leaked_keys

RUNS = int(os.environ.get("AGENTPOOL_MODEL_RUNS", "15"))
STEPS = int(os.environ.get("AGENTPOOL_MODEL_STEPS", "30"))
SHRINK = os.environ.get("AGENTPOOL_MODEL_SHRINK", "") == "1"  # takes minutes; useful after a failure
FOR_EVER_MS = 10**13
QUANTUM_MS = 600_000  # of the clock of machines that count in quanta
picks = st.integers(0, 10_000)


def settings_of(runs: int) -> settings:
    """Return the settings for so many random runs."""
    return settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
    )


def sequences(runs: int) -> settings:
    """Return the settings of a test with so many random sequences."""
    return settings(
        max_examples=runs,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


def run(machine: type[PoolMachine], url: str) -> None:
    """Run random sequences of the machine's rules on the server."""
    machine.url = url
    run_state_machine_as_test(machine, settings=settings_of(RUNS))


class PoolMachine(RuleBasedStateMachine):
    """A pool, its workers, and the calls that the rules share."""

    url: str
    workers: tuple[str, ...] = ("w1",)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.url)
        self.pool = PoolRef("model", uuid.uuid4().hex[:16])
        self.prefix = f"ap:{{{self.pool}}}:"
        self.numbers = itertools.count(1)
        self.registered = False
        self.producer = Producer(self.redis, self.pool)
        self.inspector = Inspector(self.redis)
        self.consumers = {name: Consumer(self.redis, self.pool, WorkerId(name)) for name in self.workers}

    def do(self, work):
        return self.loop.run_until_complete(work)

    def configure(self, **changes):
        """Set the pool's settings; the first call registers the workers for ever."""
        lasting = {"lease_ms": FOR_EVER_MS, "retention_results_ms": FOR_EVER_MS, "retry_max_ms": FOR_EVER_MS}
        self.do(self.inspector.configure(self.pool, PoolSettings(**lasting, **changes)))
        for consumer in () if self.registered else self.consumers.values():
            self.do(consumer.register(slots=100, host="h"))
        self.registered = True

    def request(self, **fields):
        fields.setdefault("kind", "k")
        return JobRequest(job_id=JobId(f"j{next(self.numbers)}"), **fields)

    def submit(self, *requests):
        """Submit jobs; return their ids."""
        return [receipt.job_id for receipt in self.do(self.producer.submit_many(requests))]

    def claim(self, limit, name="w1"):
        return self.do(self.consumers[name].claim(limit))

    def succeed(self, leases, name="w1"):
        ends = [Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases]
        return self.do(self.consumers[name].settle(ends))

    def drain(self, lease, name="w1"):
        returned = Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)
        self.do(self.consumers[name].settle([returned]))

    def jump(self, ms):
        self.do(self.redis.hincrby(f"{self.prefix}counters", "clock_offset_ms", ms))

    def job(self, job_id):
        return self.do(self.inspector.job(self.pool, JobId(job_id)))

    def entry(self, job_id):
        """The job's place in its stream, as a tuple that sorts by age."""
        text = self.do(self.redis.hget(f"{self.prefix}job:{job_id}", "entry"))
        return tuple(map(int, text.split("-")))

    def await_next_ms(self):
        """Wait until the server's clock shows a new millisecond, by which the next job is younger than all others."""
        first = self.server_ms()
        while self.server_ms() == first:
            pass

    def server_ms(self):
        seconds, microseconds = self.do(self.redis.time())
        return seconds * 1000 + microseconds // 1000

    def settle_down(self):
        """Let maintenance finish all work in parts."""
        while self.do(self.consumers["w1"].maintain()).next_due_ms == 0:
            pass

    def teardown(self):
        try:
            self.run_out()
            assert self.do(audit(self.redis, self.pool)) == []
            assert self.do(leaked_keys(self.redis, self.pool)) == []
        finally:
            self.do(self.inspector.purge(self.pool))
            self.do(self.redis.aclose())
            self.loop.close()

    def run_out(self):
        """Let every job end; a machine asserts here that none starves."""


class WaitingMachine(PoolMachine):
    """A pool in which waiting jobs, the keys of `waiting`, may be cancelled."""

    @rule(number=picks)
    def cancel(self, number):
        if self.waiting:
            job = sorted(self.waiting)[number % len(self.waiting)]
            self.do(self.producer.cancel(JobId(job)))
            del self.waiting[job]


class TwoWorkersMachine(WaitingMachine):
    """A pool of two workers, one of which may be lost; `running` has a run with `worker` and `lease` for each job."""

    workers = ("w1", "w2")

    def __init__(self):
        super().__init__()
        self.lost = set()  # jobs that have lost a worker: they would run alone after a second loss

    def pick(self, number):
        return sorted(self.running)[number % len(self.running)] if self.running else None

    @rule(number=picks)
    def requeue(self, number):
        if (job := self.pick(number)) is not None:
            each = self.running.pop(job)
            self.drain(each.lease, each.worker)
            self.wait_again(job, each)

    @rule()
    def lose_a_worker(self):
        jobs = [job for job, each in self.running.items() if each.worker == "w2"]
        if jobs and not self.lost & {*jobs}:
            self.lost |= {*jobs}
            self.do(self.redis.zadd(f"{self.prefix}workers", {"w2": 1}))
            self.settle_down()
            self.do(self.consumers["w2"].register(slots=100, host="h"))
            for job in jobs:
                self.wait_again(job, self.running.pop(job))

    def wait_again(self, job, each):
        """Add a job to `waiting` after a run without an outcome."""
        raise NotImplementedError
