"""Durable steps of whole workers on a real Redis: after kills, in retries, and from programs other than Python."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentpool_core.cli.root import root
from agentpool_core.jobs import JobState, StepOutcome
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.submission import request_of
from tests.fixtures.workers import until

COMMAND = Path(__file__).parents[2] / "fixtures" / "apps" / "command_steps.sh"


@pytest.fixture
async def run(redis, pool):
    """Submit a job, wait for its end, and return its record."""
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=20, retry_max_ms=50, lease_ms=1_000))

    async def run(kind, payload=None):
        job_id = (await Producer(redis, pool).submit(request_of(kind, payload))).job_id

        async def ended():
            return (await Inspector(redis).job(pool, job_id)).state.terminal

        await until(ended, f"job {job_id} has ended")
        return await Inspector(redis).job(pool, job_id)

    return run


@pytest.mark.parametrize("last", ["a", "b", "c"])
async def test_sigkill_between_two_steps_repeats_none(workers, run, last):
    """The next process continues after the last finished step, with the results of the earlier steps."""
    workers.start()
    job = await run("durable", {"steps": ["a", "b", "c"], "die_after": last})
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2
    ran = {what: count for (what, _), count in workers.runs().items()}
    assert ran == {"step a": 1, "step b": 1, "step c": 1}
    second = "abc".index(last) + 1
    assert job.result == [[name, 1 if place < second else 2] for place, name in enumerate("abc")]
    assert [(step.name, step.outcome, step.attempt) for step in job.steps] == [
        (name, StepOutcome.SUCCEEDED, attempt) for name, attempt in job.result
    ]
    times = [step.started_at_ms for step in job.steps]
    assert job.submitted_at_ms <= times[0] <= times[1] <= times[2] <= job.finished_at_ms


async def test_a_command_has_steps_over_its_context(workers, run, tmp_path):
    """GET reports whether a step has finished, and PUT stores a step: a shell script survives its own death."""
    workers.start("--handler-command", f"sh {COMMAND}", app=None)
    job = await run("script", str(tmp_path))
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result == {"first": {"made": 1}, "second": [2]}
    assert (tmp_path / "first").read_text() == "x"
    assert [(step.name, step.attempt) for step in job.steps] == [("first", 1), ("second", 2)]


async def test_the_command_line_shows_the_steps_of_a_job(workers, run, redis_url, pool):
    """`agentpool get JOB` shows steps as a table, and as documents."""
    workers.start()
    job = await run("durable", {"steps": ["fetch", "summarise"]})

    async def get(*flags):
        arguments = ["get", job.job_id, "--redis", redis_url, "--pool", str(pool), *flags]
        return await asyncio.to_thread(CliRunner().invoke, root, arguments)

    text = (await get()).output
    assert [line.split()[:3] for line in text.splitlines()[-3:]] == [
        ["STEP", "OUTCOME", "ATTEMPT"],
        ["fetch", "succeeded", "1"],
        ["summarise", "succeeded", "1"],
    ]
    (step, _) = json.loads((await get("-o", "json")).output)["steps"]
    assert step.keys() == {"name", "outcome", "attempt", "started_at_ms", "duration_ms"}
