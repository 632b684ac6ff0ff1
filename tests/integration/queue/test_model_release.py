"""Pipelines in random sequences, released and restored in small parts: the states are those of one large part."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from agentpool_core.jobs import AfterCondition, JobId
from agentpool_core.queue import scripts
from agentpool_core.queue.completions import Failed
from agentpool_core.queue.keys import Keys
from tests.integration.queue.machine import PoolMachine, picks, run
from tests.integration.queue.model import Model, ModelJob

SMALL = ("local RELEASE_MAX = 2 ", "local LOOKS_MAX = 2 ")  # children, and restored jobs, in one script
LARGE = re.compile(r"local (RELEASE_MAX|LOOKS_MAX) = 200 ")


class Release(PoolMachine):
    """Jobs with parents. Between two parts a child is as before, or released; no other state occurs."""

    @initialize()
    def begin(self):
        self.model = Model()
        self.leases = []
        self.after = {}  # parents of each job
        self.stopped = set()  # jobs that were cancelled themselves
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
            self.after[job.id] = after
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
                self.stopped.add(job.id)
                self.do(self.producer.cancel(JobId(job.id)))
                self.maintain(rounds)

    @rule(number=picks, rounds=st.integers(0, 3))
    def replay(self, number, rounds):
        """Replay a failed job with everything downstream; one call restores a part, and maintenance the rest."""
        self.agree()
        failed = self.model.of_state("failed")
        if failed:
            root = failed[number % len(failed)]
            arguments = (root.id, "downstream")
            self.do(scripts.REPLAY.run(self.redis, Keys(self.pool).conf, arguments))
            self.model.replay(root)
            for job in self.model.of_state("cancelled"):
                self.restore(job)
            self.maintain(rounds)

    def restore(self, job):
        """Let a cancelled job wait again, unless it was cancelled itself or has a parent without a chance."""
        parents = [self.model.jobs[name] for name in self.after[job.id]]
        hopeless = any(parent.state in {"failed", "cancelled"} for parent in parents)
        if hopeless or not parents or job.runs_anyway or job.id in self.stopped:
            return
        job.parents = {parent.id for parent in parents if parent.state != "succeeded"}
        job.state = "blocked" if job.parents else "queued"
        for name in job.parents:
            self.model.jobs[name].kids.append(job.id)

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
    """Let each script release two children, and restore two jobs."""
    for name, script in vars(scripts).copy().items():
        if isinstance(script, scripts.Script):
            source = LARGE.sub(r"local \1 = 2 ", script.source)
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            monkeypatch.setattr(scripts, name, replace(script, source=source, sha=sha))
    assert all(text in scripts.MAINTAIN.source for text in SMALL)


@pytest.mark.usefixtures("_small_parts")
def test_pipelines_in_parts_end_as_pipelines_at_once(redis_url):
    """Random pipelines, ends, cancels and replays, with maintenance between the parts."""
    run(Release, redis_url)
