"""Idempotency keys in random sequences: exact receipts, owners of the key, and ends of replaced jobs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from agentpool_core.errors import IdempotencyConflictError
from agentpool_core.jobs import JobId, OnConflict
from agentpool_core.queue.completions import Cancelled, Failed
from tests.integration.queue.machine import PoolMachine, picks, run

DELAY_MS = 600_000
WAITING = {"queued", "scheduled"}


@dataclass
class Named:
    """A job of a key."""

    key: str
    body: int
    state: str
    due: int | None = None
    cancel: bool = False


class Conflicts(PoolMachine):
    """Jobs of two keys. A key belongs to the latest job that was stored under it."""

    @initialize()
    def begin(self):
        self.now = 0
        self.jobs = {}  # by id
        self.owner = {}  # of each key: the job's id
        self.leases = {}  # of running jobs
        self.configure()

    @rule(
        key=st.sampled_from("xy"),
        body=st.integers(1, 2),
        policy=st.sampled_from(OnConflict),
        delay=st.sampled_from([0, 0, DELAY_MS]),
        times=st.integers(1, 2),
    )
    def arrive(self, key, body, policy, delay, times):
        """Submit a job, perhaps twice with the same id after a lost answer."""
        request = self.request(payload=body, idempotency_key=key, on_conflict=policy, delay_ms=delay)
        for _ in range(times):
            known = self.stands(request.job_id, key, policy)
            if known and policy is OnConflict.REFUSE and self.jobs[known].body != body:
                with pytest.raises(IdempotencyConflictError):
                    self.do(self.producer.submit(request))
                continue
            receipt = self.do(self.producer.submit(request))
            assert (receipt.job_id, receipt.duplicate) == (known or request.job_id, known is not None)
            if not known:
                self.replace(self.owner.get(key), policy)
                self.owner[key] = request.job_id
                due = self.now + delay if delay else None
                self.jobs[request.job_id] = Named(key, body, "scheduled" if delay else "queued", due)

    def stands(self, job_id, key, policy):
        """Return the earlier job that stands for a new job; None: the new job is stored."""
        owner = self.owner.get(key)
        if owner is None or policy is OnConflict.REFUSE or owner == job_id:
            return owner
        if policy is OnConflict.KEEP and self.jobs[owner].state in {*WAITING, "running"}:
            return owner
        return job_id if job_id in self.jobs else None

    def replace(self, owner, policy):
        if owner is None:
            return
        earlier = self.jobs[owner]
        if earlier.state in WAITING and (policy is OnConflict.CANCEL_RUNNING or not self.has_started(owner)):
            earlier.state = "cancelled"
        elif earlier.state == "running" and policy is OnConflict.CANCEL_RUNNING:
            earlier.cancel = True

    def has_started(self, job_id):
        return self.job(job_id).claimed_at_ms is not None

    @rule(limit=st.integers(1, 3))
    def start(self, limit):
        ready = sum(job.state == "queued" for job in self.jobs.values())
        leases = self.claim(limit)
        assert len(leases) == min(limit, ready)
        for lease in leases:
            assert self.jobs[lease.job_id].state == "queued"
            assert lease.payload == self.jobs[lease.job_id].body
            self.jobs[lease.job_id].state = "running"
            self.leases[lease.job_id] = lease

    @rule(number=picks, how=st.sampled_from(["succeeded", "failed", "cancelled", "drain"]))
    def end(self, number, how):
        if not self.leases:
            return
        lease = self.leases.pop(sorted(self.leases)[number % len(self.leases)])
        job, ids = self.jobs[lease.job_id], {"job_id": lease.job_id, "token": lease.token}
        match how:
            case "succeeded":
                self.succeed([lease])
                job.state = "succeeded"
                return
            case "failed":
                self.do(self.consumers["w1"].settle([Failed(**ids, error="no", retry=False)]))
                job.state = "failed"
            case "cancelled":
                self.do(self.consumers["w1"].settle([Cancelled(**ids)]))
                job.state = "cancelled"
            case _:
                self.drain(lease)
                job.state = "queued"
        job.state = "cancelled" if job.cancel else job.state

    @rule(number=picks)
    def cancel(self, number):
        waiting = [job_id for job_id, job in self.jobs.items() if job.state in WAITING]
        if waiting:
            job_id = waiting[number % len(waiting)]
            self.do(self.producer.cancel(JobId(job_id)))
            self.jobs[job_id].state = "cancelled"

    @rule(number=picks)
    def replay(self, number):
        failed = [job_id for job_id, job in self.jobs.items() if job.state == "failed"]
        if failed:
            job_id = failed[number % len(failed)]
            self.do(self.inspector.replay(self.pool, JobId(job_id)))
            self.jobs[job_id].state = "queued"
            self.jobs[job_id].cancel = False

    @rule(steps=st.integers(1, 2))
    def pass_time(self, steps):
        self.now += steps * DELAY_MS // 2
        self.jump(steps * DELAY_MS // 2)
        self.settle_down()
        for job in self.jobs.values():
            if job.state == "scheduled" and job.due <= self.now:
                job.state = "queued"

    @invariant()
    def worlds_agree(self):
        if not self.registered:
            return
        for job_id, job in self.jobs.items():
            found = self.job(job_id)
            assert (found.state.value, found.cancel_requested) == (job.state, job.cancel)

    def run_out(self):
        self.pass_time(2)
        while any(job.state == "queued" for job in self.jobs.values()):
            self.start(3)
        self.succeed(self.leases.values())


def test_keys_pass_from_job_to_job_as_the_policies_say(redis_url):
    """Random submits of every policy, with delays, repeats, ends, cancels and replays."""
    run(Conflicts, redis_url)
