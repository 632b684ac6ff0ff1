"""Pipelines in random sequences, released two children at a time: the states are those of a release at once."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from agentpool_core.jobs import AfterCondition, JobId
from agentpool_core.queue import scripts
from agentpool_core.queue.completions import Failed
from tests.integration.queue.machine import PoolMachine, picks, run
from tests.integration.queue.model import Model, ModelJob

PART = ("local RELEASE_MAX = 200 ", "local RELEASE_MAX = 2 ")


class Release(PoolMachine):
    """Jobs with parents. Between two parts a child is as before, or released; no other state occurs."""

    @initialize()
    def begin(self):
        self.model = Model()
        self.leases = []
        self.configure()

    @rule(
        parents=st.lists(picks, max_size=3),
        condition=st.sampled_from(AfterCondition),
        count=st.integers(1, 6),
    )
    def arrive(self, parents, condition, count):
        known = list(self.model.jobs)
        after = list(dict.fromkeys(known[number % len(known)] for number in parents)) if known else []
        requests = [
            self.request(after=tuple(map(JobId, after)), after_condition=condition, max_attempts=1)
            for _ in range(count)
        ]
        self.submit(*requests)
        for request in requests:
            job = ModelJob(id=request.job_id, priority="task", route="default", max_attempts=1)
            job.runs_anyway = condition is not AfterCondition.SUCCEEDED
            job.for_failures = condition is AfterCondition.FAILED
            self.model.submit(job, after, 0, None)
            self.model.conclude()

    @rule(succeed=st.booleans(), count=st.integers(1, 3), rounds=st.integers(0, 3))
    def end(self, succeed, count, rounds):
        """End running jobs in one call; maintenance may not release all of their children."""
        ends, self.leases = self.leases[:count], self.leases[count:]
        if succeed:
            self.succeed(ends)
        else:
            failed = [Failed(job_id=one.job_id, token=one.token, error="no", retry=False) for one in ends]
            self.do(self.consumers["w1"].settle(failed))
        for lease in ends:
            self.model.end(self.model.jobs[lease.job_id], "succeeded" if succeed else "failed")
        self.model.conclude()
        self.maintain(rounds)

    @rule(number=picks, rounds=st.integers(0, 3))
    def cancel(self, number, rounds):
        waiting = self.model.of_state("queued", "blocked")
        if waiting:
            job = waiting[number % len(waiting)]
            if self.job(job.id).state.value == job.state:  # else a part that is left decides first
                self.model.cancel(job)
                self.do(self.producer.cancel(JobId(job.id)))
                self.maintain(rounds)

    def maintain(self, rounds):
        for _ in range(rounds):
            self.do(self.consumers["w1"].maintain())

    @rule()
    def agree(self):
        """Once no part is left, every job is in the state that the model says."""
        self.settle_down()
        assert {name: self.job(name).state.value for name in self.model.jobs} == {
            name: job.state for name, job in self.model.jobs.items()
        }

    @rule()
    def start(self):
        self.agree()
        leases = self.claim(1_000)
        ready = self.model.of_state("queued")
        assert {lease.job_id for lease in leases} == {job.id for job in ready}
        for job in ready:
            job.state = "running"
        self.leases += leases

    def run_out(self):
        while self.model.of_state("queued", "running", "blocked"):
            self.start()
            self.end(succeed=True, count=len(self.leases), rounds=0)
        self.agree()


@pytest.fixture
def _small_parts(monkeypatch):
    """Let each script release two children."""
    for name, script in vars(scripts).copy().items():
        if isinstance(script, scripts.Script) and PART[0] in script.source:
            source = script.source.replace(*PART)
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            monkeypatch.setattr(scripts, name, replace(script, source=source, sha=sha))
    assert PART[1] in scripts.MAINTAIN.source


@pytest.mark.usefixtures("_small_parts")
def test_children_released_in_parts_end_as_if_released_at_once(redis_url):
    """Random pipelines, ends and cancels, with maintenance between the parts."""
    run(Release, redis_url)
