"""Schedules in random sequences: exactly the jobs that the policies ask for, whatever workers submit them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from agentpool_core.jobs import WorkerId
from agentpool_core.queue import Consumer
from agentpool_core.queue.schedule import GRACE_MS, Missed, Overlap, Schedule
from agentpool_core.queue.schedules import Schedules
from agentpool_core.queue.selector import JobSelector
from tests.integration.queue.machine import PoolMachine, picks, run

EVERY_MS = 600_000
STEPS_MS = (GRACE_MS // 2, EVERY_MS // 2, EVERY_MS, 3 * EVERY_MS)
START_MS = EVERY_MS // 4 + 10_000  # so that no step ends at a due time, or at the end of its grace
CATCH_UP = 2
schedules = st.builds(
    Schedule,
    name=st.sampled_from(["s", "t"]),
    kind=st.just("k"),
    every_ms=st.just(EVERY_MS),
    missed=st.sampled_from(Missed),
    max_catch_up=st.just(CATCH_UP),
    overlap=st.sampled_from(Overlap),
)


@dataclass
class Standing:
    """A schedule as it stands. Times are milliseconds since the due time before the run."""

    schedule: Schedule
    due: int
    paused: bool = False
    last: str | None = None  # key of its latest job


class Due(PoolMachine):
    """Two schedules of one interval, which stand at due times of the server's clock."""

    workers = ("w1", "w2", "w3")

    @initialize()
    def begin(self):
        self.configure()
        self.schedules = Schedules(self.redis, self.pool)
        self.zero = self.server_ms() // EVERY_MS * EVERY_MS + EVERY_MS
        self.jump(self.zero + START_MS - self.server_ms())
        self.now = START_MS
        self.standing = {}
        self.jobs = {}  # idempotency key -> state
        self.leases = []

    def next_due(self):
        return self.now // EVERY_MS * EVERY_MS + EVERY_MS

    @rule(schedule=schedules)
    def put(self, schedule):
        self.do(self.schedules.put(schedule))
        known = self.standing.get(schedule.name)
        if known and known.schedule == schedule:
            return
        paused, last = (known.paused, known.last) if known else (False, None)
        self.standing[schedule.name] = Standing(schedule, self.next_due(), paused, last)

    @precondition(lambda self: self.standing)
    @rule(number=picks, paused=st.booleans())
    def pause(self, number, paused):
        name = sorted(self.standing)[number % len(self.standing)]
        self.do(self.schedules.pause(name, paused=paused))
        standing = self.standing[name]
        if standing.paused and not paused:
            standing.due = self.next_due()
        standing.paused = paused

    @precondition(lambda self: self.standing)
    @rule(number=picks)
    def delete(self, number):
        name = sorted(self.standing)[number % len(self.standing)]
        self.do(self.schedules.delete(name))
        del self.standing[name]

    @rule(by=st.sampled_from(STEPS_MS), workers=st.integers(1, 3), restart=st.booleans())
    def pass_time(self, by, workers, restart):
        """Several workers run the maintenance at the same time; one of them may have restarted."""
        self.now += by
        self.jump(by)
        if restart:
            self.consumers["w1"] = Consumer(self.redis, self.pool, WorkerId("w1"))
            self.do(self.consumers["w1"].register(slots=100, host="h"))
        for standing in self.standing.values():
            self.run_due(standing)
        asked = list(self.consumers.values())[:workers]

        async def maintain():
            await asyncio.gather(*(consumer.maintain() for consumer in asked))

        self.do(maintain())

    def run_due(self, standing):
        """Submit the jobs that the policies ask for."""
        if standing.paused or standing.due > self.now:
            return
        due = list(range(standing.due, self.now + 1, EVERY_MS))
        policy = standing.schedule.missed
        due = due[-CATCH_UP:] if policy is Missed.ALL else due[-1:]
        if policy is Missed.SKIP and self.now - due[-1] > GRACE_MS:
            due = []
        standing.due = self.next_due()
        for due_ms in due:
            earlier = self.jobs.get(standing.last)
            busy = earlier in {"queued", "running"}
            if busy and standing.schedule.overlap is Overlap.SKIP:
                continue
            if busy and standing.schedule.overlap is Overlap.CANCEL:
                self.jobs[standing.last] = "cancelled" if earlier == "queued" else "running"
            key = f"schedule:{standing.schedule.name}:{self.zero + due_ms}"
            assert key not in self.jobs
            standing.last = key
            self.jobs[key] = "queued"

    @rule(limit=st.integers(1, 3), end=st.booleans())
    def work(self, limit, end):
        """Start jobs, and perhaps end all jobs that run."""
        self.leases += self.claim(limit, "w2")
        for lease in self.leases:
            key = self.job(lease.job_id).idempotency_key
            self.jobs[key] = "running" if self.jobs[key] == "queued" else self.jobs[key]
        if end:
            self.succeed(self.leases, "w2")
            for lease in self.leases:
                key = self.job(lease.job_id).idempotency_key
                self.jobs[key] = "succeeded"
            self.leases.clear()

    @invariant()
    def worlds_agree(self):
        if not self.registered:
            return
        found = self.do(self.inspector.find(self.pool, JobSelector(), limit=500)).jobs
        assert len({job.idempotency_key for job in found}) == len(found), "a due time has given two jobs"
        assert {job.idempotency_key: job.state.value for job in found} == self.jobs
        states = {state.schedule.name: state for state in self.do(self.schedules.list())}
        assert states.keys() == self.standing.keys()
        for name, standing in self.standing.items():
            due = None if standing.paused else self.zero + standing.due
            assert (states[name].next_due_ms, states[name].paused) == (due, standing.paused)

    def run_out(self):
        while any(state == "queued" for state in self.jobs.values()):
            self.work(100, end=True)


def test_each_due_time_gives_the_jobs_of_its_policy(redis_url):
    """Random schedules, pauses and deletions under maintenance by several workers at the same time."""
    run(Due, redis_url)
