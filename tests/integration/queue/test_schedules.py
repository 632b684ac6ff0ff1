"""Schedules on a real server: a job for each due time under any maintenance, and visible runs."""

from __future__ import annotations

import asyncio
import json

import pytest

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.schedule import Missed, Overlap, Schedule
from agentpool_core.queue.schedules import Schedules
from agentpool_core.queue.selection import Change
from agentpool_core.queue.selector import JobSelector

MINUTE_MS = 60_000
EVERY = Schedule(name="probe", kind="check", every_ms=MINUTE_MS, payload={"a": 1})


@pytest.fixture
def pass_time(redis, pool):
    """Move the pool's clock."""
    offset_ms = 0

    async def move(by_ms: int) -> None:
        nonlocal offset_ms
        offset_ms += by_ms
        await redis.execute_command("HSET", f"ap:{{{pool}}}:counters", "clock_offset_ms", offset_ms)

    return move


async def worker(redis, pool, name: str) -> Consumer:
    """A registered worker with a lease longer than the test's jumps."""
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=10, host="h")
    return consumer


async def queued(redis, pool) -> list:
    """The queued jobs, oldest first."""
    return list((await Inspector(redis).find(pool, JobSelector(states=(JobState.QUEUED,)))).jobs)


@pytest.mark.parametrize("declared", [True, False])
async def test_each_due_time_gives_a_single_job(redis, pool, pass_time, declared):
    """Two concurrent workers and a restarted worker submit a single job, with the payload and the schedule's tag."""
    if declared:
        await Inspector(redis).configure(pool, PoolSettings(schedules=(EVERY,)))
    else:
        await Schedules(redis, pool).put(EVERY)
    workers = [await worker(redis, pool, name) for name in ("a", "b")]
    await asyncio.gather(*(one.maintain(recover=False) for one in workers))
    assert await queued(redis, pool) == []
    for number in range(1, 4):
        await pass_time(MINUTE_MS)
        workers.append(await worker(redis, pool, f"restarted-{number}"))
        await asyncio.gather(*(one.maintain(recover=False) for one in workers))
        jobs = await queued(redis, pool)
        assert len(jobs) == number
    assert {(job.kind, job.tags) for job in jobs} == {("check", ("schedule=probe",))}
    assert len({job.idempotency_key for job in jobs}) == 3
    (state,) = await Schedules(redis, pool).list()
    assert (state.declared, state.last_outcome, state.last_job_id) == (declared, "submitted", jobs[-1].job_id)
    assert state.next_due_ms == state.last_due_ms + MINUTE_MS


async def test_an_overtaken_caller_submits_nothing(redis, pool, pass_time):
    """The due time has moved on, even after the job and the idempotency key are gone."""
    schedules = Schedules(redis, pool)
    await schedules.put(EVERY)
    await pass_time(MINUTE_MS)
    now_ms, states = await schedules._read()
    stood_at = states["probe"].next_due_ms
    assert await schedules.run_due() == 1
    selection = Inspector(redis).select(pool, JobSelector(tags=("schedule=probe",)))
    async for _ in selection.steps(Change.CANCEL):
        pass
    async for _ in selection.steps(Change.PURGE):
        pass
    assert await schedules._run(EVERY, stood_at, now_ms) == 0
    assert await queued(redis, pool) == []


@pytest.mark.parametrize(("missed", "jobs"), [(Missed.SKIP, 0), (Missed.ONCE, 1), (Missed.ALL, 3)], ids=str)
async def test_missed_due_times_follow_the_policy(redis, pool, pass_time, missed, jobs):
    """The policy decides after five missed due times; the next due time lies ahead."""
    hourly = Schedule(name="h", kind="k", every_ms=60 * MINUTE_MS, missed=missed, max_catch_up=3)
    schedules = Schedules(redis, pool)
    await schedules.put(hourly)
    (state,) = await schedules.list()
    now_ms = (await Inspector(redis).snapshot(pool)).taken_at_ms
    await pass_time(state.next_due_ms - now_ms + 4 * 60 * MINUTE_MS + 10 * MINUTE_MS)
    assert await schedules.run_due() == jobs
    assert len(await queued(redis, pool)) == jobs
    (after,) = await schedules.list()
    assert after.next_due_ms == state.next_due_ms + 5 * 60 * MINUTE_MS
    assert after.last_outcome == ("submitted" if jobs else "missed")
    assert await schedules.run_due() == 0


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("overlap", list(Overlap))
async def test_a_due_time_while_the_earlier_job_has_not_ended(redis, pool, pass_time, overlap, running):
    """The policy starts both jobs, no new job, or cancels the earlier job; later due times submit jobs again."""
    schedules = Schedules(redis, pool)
    await schedules.put(Schedule(name="s", kind="k", every_ms=MINUTE_MS, overlap=overlap))
    await pass_time(MINUTE_MS)
    await schedules.run_due()
    (first,) = await queued(redis, pool)
    consumer = await worker(redis, pool, "w")
    leases = await consumer.claim(1) if running else []
    await pass_time(MINUTE_MS)
    assert await schedules.run_due() == (overlap is not Overlap.SKIP)
    earlier = await Inspector(redis).job(pool, first.job_id)
    if overlap is Overlap.CANCEL:
        assert earlier.cancel_requested if running else earlier.state is JobState.CANCELLED
    else:
        assert not earlier.cancel_requested
        assert earlier.state is (JobState.RUNNING if running else JobState.QUEUED)
    if overlap is Overlap.SKIP:
        (state,) = await schedules.list()
        assert (state.last_outcome, state.last_job_id) == ("overlap", first.job_id)
        if running:
            await consumer.settle([Succeeded(job_id=one.job_id, token=one.token) for one in leases])
        else:
            await Producer(redis, pool).cancel(first.job_id)
        await pass_time(MINUTE_MS)
        assert await schedules.run_due() == 1


async def test_a_full_queue_leaves_the_due_time_due(redis, pool, pass_time):
    """The job is submitted when the queue has room."""
    await Schedules(redis, pool).put(EVERY)
    await Inspector(redis).configure(pool, PoolSettings(max_depth=1))
    (blocker,) = await Producer(redis, pool).submit_many([JobRequest(kind="x")])
    await pass_time(MINUTE_MS)
    assert await Schedules(redis, pool).run_due() == 0
    await Producer(redis, pool).cancel(blocker.job_id)
    assert await Schedules(redis, pool).run_due() == 1


async def test_a_paused_schedule_skips_its_due_times(redis, pool, pass_time):
    """A paused schedule has no next run; after the resume the next due time counts."""
    schedules = Schedules(redis, pool)
    await schedules.put(EVERY)
    await schedules.pause("probe", paused=True)
    await pass_time(5 * MINUTE_MS)
    assert await schedules.run_due() == 0
    (state,) = await schedules.list()
    assert (state.paused, state.next_due_ms) == (True, None)
    await schedules.pause("probe", paused=False)
    assert await schedules.run_due() == 0
    await pass_time(MINUTE_MS)
    assert await schedules.run_due() == 1


async def test_declared_schedules_follow_the_settings(redis, pool):
    """A removed schedule disappears, an unchanged schedule keeps the next run, and a suspended schedule has none.

    Clients cannot change declared schedules.
    """
    inspector, schedules = Inspector(redis), Schedules(redis, pool)
    other = Schedule(name="other", kind="k", every_ms=2 * MINUTE_MS)
    await inspector.configure(pool, PoolSettings(schedules=(EVERY, other)))
    before = {state.schedule.name: state.next_due_ms for state in await schedules.list()}
    await redis.execute_command("ZADD", f"ap:{{{pool}}}:schedules-due", before["probe"] - 1, "probe")
    await inspector.configure(pool, PoolSettings(schedules=(EVERY,), max_depth=7))
    assert [(s.schedule.name, s.next_due_ms) for s in await schedules.list()] == [("probe", before["probe"] - 1)]
    for change in (schedules.put(EVERY), schedules.delete("probe")):
        with pytest.raises(InvalidJobError, match=r"spec\.schedules"):
            await change
    suspended = Schedule(name="probe", kind="check", every_ms=MINUTE_MS, suspended=True)
    await inspector.configure(pool, PoolSettings(schedules=(suspended,)))
    assert [(s.paused, s.next_due_ms) for s in await schedules.list()] == [(True, None)]
    assert (await inspector.settings(pool)).schedules == (suspended,)


async def test_a_due_schedule_is_demand_without_a_worker(redis, pool, pass_time):
    """The operator starts a worker, whose maintenance submits the job and returns the next due time."""
    await Schedules(redis, pool).put(EVERY)
    assert (await Inspector(redis).snapshot(pool)).due == 0
    await pass_time(MINUTE_MS)
    assert (await Inspector(redis).snapshot(pool)).due == 1
    consumer = await worker(redis, pool, "w")
    done = await consumer.maintain(recover=False)
    assert (done.promoted, (await Inspector(redis).snapshot(pool)).due) == (1, 0)
    done = await consumer.maintain(recover=False)
    assert 0 < done.next_due_ms <= MINUTE_MS


@pytest.mark.parametrize("call", ["delete", "pause"])
async def test_an_unknown_schedule_is_refused(redis, pool, call):
    """The error names the schedule."""
    schedules = Schedules(redis, pool)
    with pytest.raises(InvalidJobError, match="nothing-here"):
        await (schedules.delete("nothing-here") if call == "delete" else schedules.pause("nothing-here", paused=True))


BENT = {"name": "middle", "kind": "check", "every_ms": MINUTE_MS}
DEEP = json.loads("[" * 200 + "]" * 200)


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        *(
            ("schedules", "middle", json.dumps(BENT | changes))
            for changes in (
                {"payload": DEEP}, {"every_ms": 1000.0}, {"every_ms": "x"}, {"every_ms": None, "cron": 5},
                {"kind": 5}, {"time_zone": 5}, {"nope": 1}, {"every_ms": None},
            )
        ),
        ("schedules", "middle", "[" * 5_000),
        ("schedules", "~", json.dumps(BENT)),
        ("schedules-last", "middle", "x"),
        ("schedules-last", "middle", "x y z"),
    ],
)  # fmt: skip
async def test_an_unreadable_schedule_affects_no_further_schedule(redis, pool, pass_time, key, field, value):
    """The schedules before and behind are due, maintenance reports the fault, and the list shows the readable ones."""
    schedules = Schedules(redis, pool)
    for name in ("first", "middle", "third"):
        await schedules.put(Schedule(name=name, kind="check", every_ms=MINUTE_MS))
    await redis.hset(f"ap:{{{pool}}}:{key}", field, value)
    await pass_time(MINUTE_MS)
    await (await worker(redis, pool, "a")).maintain()
    tags = {job.tags[0] for job in await queued(redis, pool)}
    assert tags >= {"schedule=first", "schedule=third"}
    assert {"first", "third"} <= {state.schedule.name for state in await schedules.list()}


async def test_a_schedule_without_a_time_affects_no_further_schedule(redis, pool, pass_time):
    """A time that is no number is never due; the remaining schedules are due."""
    schedules = Schedules(redis, pool)
    for name in ("first", "middle", "third"):
        await schedules.put(Schedule(name=name, kind="check", every_ms=MINUTE_MS))
    await redis.zadd(f"ap:{{{pool}}}:schedules-due", {"first": "-inf", "middle": "inf"})
    await pass_time(MINUTE_MS)
    await (await worker(redis, pool, "a")).maintain()
    assert {job.tags[0] for job in await queued(redis, pool)} == {"schedule=third"}
    assert len(await schedules.list()) == 3
