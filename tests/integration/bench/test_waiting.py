"""The benches of waiting and of streams in small: the counts are correct, the tests do not check times."""

from __future__ import annotations

import pytest

from bench.streams import Plan, outcome_of, report
from bench.waiting.asleep import asleep


async def test_waiting_jobs_cost_memory_only():
    """Every job waits without a worker and without demand; each signal resumes its job on a new worker."""
    found = await asleep(jobs=150, signals=5)
    assert (found.workers, found.ready) == (0, 0)
    assert 500 < found.bytes_a_job < 20_000
    assert len(found.resumes_s) == 5
    assert all(seconds > 0 for seconds in found.resumes_s)


@pytest.mark.timeout(300)
async def test_streams_survive_kills_without_a_fault():
    """Each token is read once and in order while workers and the gateway are killed, and every job succeeds."""
    plan = Plan(readers=4, a_second=20.0, parts=2, ramp_s=0.5, calm_s=1.0, killing_s=6.0, kill_every_s=1.5)
    found = await outcome_of(plan)
    assert found.worker_kills > 0
    assert found.gateway_kills > 0
    assert not found.faults
    assert found.ended == found.jobs
    assert found.tokens >= found.jobs * 40
    shown = report(plan, found)
    assert all(
        shown.ratios[name] == 1.0 for name in ("tokens read once and in order / tokens", "jobs that succeeded / jobs")
    )
