"""The short scripts of the common case leave the same state as the whole scripts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from agentpool_core.errors import QueueFullError
from agentpool_core.jobs import JobId, JobRequest, JobState, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, Limit, PoolSettings, Producer, Route, Tenant, scripts
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.keys import Keys

SETTINGS = PoolSettings(routes=(Route(name="narrow", kinds=("code",), max_running=2),), max_depth=50)


async def contents(redis, pool):
    """Return every key of the pool, without times and entry ids."""
    found = {}
    for key in [key async for key in redis.scan_iter(f"{Keys(pool).prefix}*")]:
        match await redis.type(key):
            case "hash":
                value = sorted((await redis.hgetall(key)).items())
                value = [pair for pair in value if pair[0] not in {"pressure_at", "run_ms"}]
            case "stream":
                value = [fields for _, fields in await redis.xrange(key)]
                if key.endswith(":events"):  # scripts may write the same events in different numbers of entries
                    value = [text for fields in value for text in fields.values()]
                groups = [await redis.xinfo_groups(key)] if ":s:" in key else []
                value += [[(group["pending"], group.get("lag")) for group in known] for known in groups]
            case "zset":
                value = await redis.zrange(key, 0, -1, withscores=":turns:" in key or ":tags:" in key)
            case _:
                value = await redis.lrange(key, 0, -1)
        found[key.removeprefix(Keys(pool).prefix)] = re.sub(r"\b\d{13}\b(-\d+)?", "T", repr(value))
    return found


async def scene(redis, pool, *, plain, place=""):
    """Create a pool with a worker and some jobs, lease the first job, and return the contents of Redis."""
    await Inspector(redis).purge(pool)
    await Inspector(redis).configure(pool, SETTINGS)
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=1, host="h")
    if not plain:
        producer._not_plain = set(Priority)
    (first, *_) = await producer.submit_many([JobRequest(kind="code", payload=0, job_id=JobId("first"))])
    (lease,) = await consumer.claim(1)
    await consumer.settle([Succeeded(job_id=first.job_id, token=lease.token)])
    receipts = [await producer.submit(JobRequest(kind="code", payload={"n": 1}, max_attempts=3, timeout_ms=5))]
    args = ("w", place) if plain else ("w", 1)
    claimed = await (scripts.CLAIM_PLAIN if plain else scripts.CLAIM).run(redis, Keys(pool).conf, args)
    receipts += [await producer.submit(JobRequest(kind="code", payload=n, preemptible=True)) for n in range(2)]
    left = [f"{key}: {value}" for key, value in (await contents(redis, pool)).items()]
    for number, receipt in enumerate(receipts):
        left = [text.replace(receipt.job_id, f"job-{number}") for text in left]
    said = [(receipt.state, receipt.duplicate, receipt.queue_depth) for receipt in receipts]
    return sorted(left), said, re.sub(r"\b\d{13}\b(-\d+)?", "T", repr(claimed)).replace(receipts[0].job_id, "job-0")


@pytest.mark.parametrize("place", ["", ":narrow:task", ":default:info"])
async def test_short_and_whole_scripts_leave_the_same_behind(redis, pool, place):
    """Records, counters, streams, events and replies are equal for both kinds of scripts."""
    assert await scene(redis, pool, plain=True, place=place) == await scene(redis, pool, plain=False)


async def test_a_short_submit_leaves_the_rest_to_the_whole_script(redis, pool):
    """The whole script decides for a full pool, a ttl of the pool, a critical job and a repeated job."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="x"))
    other, has_ttl = -1, -2
    for settings, priority, answer in (
        (PoolSettings(max_depth=1), Priority.TASK, other),
        (PoolSettings(ttl_info_ms=1_000), Priority.INFO, has_ttl),
        (PoolSettings(), Priority.CRITICAL, other),
    ):
        await Inspector(redis).configure(pool, settings)
        before = await contents(redis, pool)
        reply = await scripts.SUBMIT_PLAIN.run(redis, Keys(pool).conf, ("id", "x", priority.value, "||", "null"))
        assert reply == answer
        assert await contents(redis, pool) == before
    plain = ("again", "x", "task", "||", "null")
    assert await scripts.SUBMIT_PLAIN.run(redis, Keys(pool).conf, plain) == 1
    assert await scripts.SUBMIT_PLAIN.run(redis, Keys(pool).conf, plain) == other
    await Inspector(redis).configure(pool, PoolSettings(ttl_info_ms=1_000))
    for _ in range(2):
        receipt = await producer.submit(JobRequest(kind="x", priority=Priority.INFO))
        assert receipt.state is JobState.QUEUED
        assert await redis.hexists(Keys(pool).job(receipt.job_id), "expires")


async def test_a_short_submit_counts_scheduled_and_blocked_jobs(redis, pool):
    """A scheduled job and a blocked job count in the depth, in the receipt and against maxDepth."""
    producer = Producer(redis, pool)
    parent = await producer.submit(JobRequest(kind="x"))
    await producer.submit(JobRequest(kind="x", delay_ms=60_000))
    await producer.submit(JobRequest(kind="x", after=(parent.job_id,)))
    await Inspector(redis).configure(pool, PoolSettings(max_depth=4))
    plain = ("id", "x", "task", "||", "null")
    assert await scripts.SUBMIT_PLAIN.run(redis, Keys(pool).conf, plain) == 3
    with pytest.raises(QueueFullError):
        await producer.submit(JobRequest(kind="x"))


@pytest.mark.parametrize(
    "case", ["paused", "cordoned", "full route", "two ready", "came back", "unregistered", "empty"]
)
@pytest.mark.parametrize("place", ["", ":one:task"])
async def test_a_short_claim_leaves_the_rest_to_the_whole_script(redis, pool, case, place):
    """The whole script decides every claim except that of a fresh job by a registered worker with a free slot."""
    await Inspector(redis).configure(pool, PoolSettings(routes=(Route(name="one", kinds=("x",), max_running=1),)))
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=5, host="h")
    if case != "empty":
        await producer.submit(JobRequest(kind="x"))
    match case:
        case "paused":
            await Inspector(redis).configure(pool, PoolSettings(paused=True))
        case "cordoned":
            await Inspector(redis).cordon(pool, [WorkerId("w")], hold_ms=60_000)
        case "full route":
            await consumer.claim(1)
            await producer.submit(JobRequest(kind="x"))
        case "two ready":
            await producer.submit(JobRequest(kind="y"))
        case "came back":
            await consumer.claim(1)
            await consumer.deregister()
            await consumer.register(slots=5, host="h")
        case "unregistered":
            await consumer.deregister()
    before = await contents(redis, pool)
    assert await scripts.CLAIM_PLAIN.run(redis, Keys(pool).conf, ("w", place)) == ["other"]
    assert await contents(redis, pool) == before
    if case == "unregistered":  # a worker with a job registers again, and its job is requeued
        await consumer.register(slots=5, host="h")
    taken = {"cordoned": 0, "paused": 0, "full route": 0, "two ready": 2, "came back": 1, "unregistered": 1, "empty": 0}
    assert len((await consumer.wait_and_claim(10, 5))[1]) == taken[case]


@pytest.mark.parametrize("text", ["INFINITY", "-inf", "nan", "0x10", "1e3", "0."])
async def test_a_counter_that_only_lua_takes_for_a_number_is_left_to_the_whole_scripts(redis, pool, text):
    """The short scripts write nothing: the whole scripts restart such a counter."""
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=10, host="h")
    await Producer(redis, pool).submit_many([JobRequest(kind="x")])
    conf, counters = Keys(pool).conf, Keys(pool).counters
    for counter in ("queued", "q:default:task", "submitted", "slots", "running", "started", "r:default", "pressure_at"):
        before = await redis.hget(counters, counter)
        await redis.hset(counters, counter, text)
        kept = await contents(redis, pool)
        if counter not in {"started", "r:default"}:
            args = ("id", "x", "task", "||", "null")
            assert await scripts.SUBMIT_PLAIN.run(redis, conf, args) == -1, counter
        if counter not in {"submitted", "slots", "pressure_at"}:
            assert await scripts.CLAIM_PLAIN.run(redis, conf, ("w", ":default:task")) == ["other"], counter
        assert await contents(redis, pool) == kept
        await redis.hset(counters, counter, before or "0")


@pytest.mark.parametrize("text", ["INFINITY", "nan", "0x10"])
async def test_a_setting_that_only_lua_takes_for_a_number_is_its_default(redis, pool, text):
    """The short claim and the short submit use the same settings as the whole scripts."""
    await Inspector(redis).configure(pool, SETTINGS)
    producer, consumer = Producer(redis, pool), Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=10, host="h")
    for name in ("max_depth", "max_attempts", "timeout_ms"):
        await redis.hset(Keys(pool).conf, name, text)
    await producer.submit_many([JobRequest(kind="x")])
    conf = Keys(pool).conf
    plain = await scripts.CLAIM_PLAIN.run(redis, conf, ("w", ":default:task"))
    assert plain[:1] + plain[3:5] == ["ok", PoolSettings().max_attempts, PoolSettings().timeout_ms]
    assert await scripts.SUBMIT_PLAIN.run(redis, conf, ("id", "x", "task", "||", "null")) == -1


async def exchanged(redis, pool, *, plain, jobs, claimed, ended, limit, tenants=(None,)):
    """Claim some of a route's jobs, exchange some of these, and return the contents of Redis and the reply.

    The jobs belong to the tenants in turn.
    """
    await Inspector(redis).purge(pool)
    await Inspector(redis).configure(pool, WIDE)
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=200, host="h")
    owners = [tenants[n % len(tenants)] for n in range(jobs)]
    await producer.submit_many(
        [JobRequest(kind="code", payload=n, job_id=JobId(f"job-{n}"), tenant=name) for n, name in enumerate(owners)]
    )
    leases = await consumer.claim(claimed)
    args = ["w", limit, 1]
    for number in ended:
        args += [leases[number].job_id, leases[number].token, "succeeded", f'"{number}"', ""]
    reply = await (scripts.EXCHANGE_PLAIN if plain else scripts.EXCHANGE).run(redis, Keys(pool).conf, args)
    return await contents(redis, pool), re.sub(r"\b\d{13}\b(-\d+)?", "T", repr(reply))


WIDE = PoolSettings(
    routes=(Route(name="wide", kinds=("code",), max_running=150),), tenants=(Tenant(name="gold", weight=3),)
)


@pytest.mark.parametrize(
    ("jobs", "claimed", "ended", "limit"),
    [
        (3, 1, [0], 1),  # one after the other
        (3, 1, [0], 200),
        (3, 3, [0, 1, 2], 3),  # nothing is left
        (3, 3, [2], 3),  # the last delivered entry ends first, and stays
        (200, 150, range(150), 150),  # up to the route's limit
        (200, 120, range(60, 120), 200),  # the rest of the queue, the route's limit leaves 90
        (100, 2, [1], 60),
    ],
)
async def test_a_short_exchange_leaves_the_same_behind_as_the_whole_script(redis, pool, jobs, claimed, ended, limit):
    """Records, counters, streams, groups, events and replies are equal."""
    case = {"jobs": jobs, "claimed": claimed, "ended": ended, "limit": limit}
    short = await exchanged(redis, pool, plain=True, **case)
    assert short[1] != repr(["other"])
    assert short == await exchanged(redis, pool, plain=False, **case)


@pytest.mark.parametrize(
    ("tenants", "limit"),
    [
        (("one",), 3),
        (("one", "two", "gold"), 7),
        (("one", "two", "gold"), 200),  # all lines become empty
        ([f"tenant-{number}" for number in range(40)], 30),
    ],
)
async def test_a_short_exchange_of_tenants_leaves_the_same_behind_as_the_whole_script(redis, pool, tenants, limit):
    """Records, counters, lines, the order of their turns, events and replies are equal."""
    case = {"jobs": 60, "claimed": 5, "ended": [0, 2, 3], "limit": limit, "tenants": tenants}
    short = await exchanged(redis, pool, plain=True, **case)
    assert short[1] != repr(["other"])
    assert short == await exchanged(redis, pool, plain=False, **case)


async def test_a_short_exchange_returns_special_jobs_of_tenants_to_their_lines(redis, pool):
    """The whole script decides if the turn is that of a job with a ttl; no line and no turn has changed."""
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=10, host="h")
    await producer.submit_many([JobRequest(kind="x", tenant=name) for name in ("one", "two", "one")])
    (lease,) = await consumer.claim(1)
    await producer.submit_many([JobRequest(kind="x", tenant="one", ttl_ms=60_000), JobRequest(kind="x", tenant="two")])
    assert await is_left_to_the_whole_script(redis, pool, "w", 9, 1, lease.job_id, lease.token, "succeeded", "null", "")
    _, more = await consumer.exchange([Succeeded(job_id=lease.job_id, token=lease.token)], 9)
    assert len(more) == 4


async def test_jobs_that_exceed_a_reply_stay_in_the_stream(redis, pool):
    """The short exchange starts the jobs that fit, and the group has not delivered the rest."""
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=10, host="h")
    (first,) = await producer.submit_many([JobRequest(kind="x")])
    (lease,) = await consumer.claim(1)
    for _ in range(5):
        await producer.submit(JobRequest(kind="x", payload="x" * 900_000))
    args = ("w", 9, 1, lease.job_id, lease.token, "succeeded", "null", "")
    _, claimed = await scripts.EXCHANGE_PLAIN.run(redis, Keys(pool).conf, args)
    assert (first.job_id, len(claimed)) == (lease.job_id, 5 + 6 * 5)
    for _ in range(6):
        await producer.submit(JobRequest(kind="x", payload="x" * 900_000))
    leases = claimed[5::6]
    args = ("w", 9, 1, leases[0], 1, "succeeded", "null", "")
    _, claimed = await scripts.EXCHANGE_PLAIN.run(redis, Keys(pool).conf, args)
    assert len(claimed) == 5 + 6 * 5
    (group,) = await redis.xinfo_groups(Keys(pool).stream("default", Priority.TASK))
    assert (group["pending"], group.get("lag", 1)) == (4 + 5, 1)
    assert (await consumer.claim(10))[0].payload == "x" * 900_000


async def test_a_kept_entry_is_deleted_by_the_next_short_exchange(redis, pool):
    """The last delivered entry, which stays while an older job runs, goes once a later job has been delivered."""
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=10, host="h")
    await producer.submit_many([JobRequest(kind="x") for _ in range(3)])
    leases = await consumer.claim(3)
    await consumer.exchange([Succeeded(job_id=leases[2].job_id, token=leases[2].token)], 3)
    assert await redis.hexists(Keys(pool).counters, "d:default:task")
    await producer.submit(JobRequest(kind="x"))
    _, more = await consumer.exchange([Succeeded(job_id=leases[1].job_id, token=leases[1].token)], 3)
    assert len(more) == 1
    assert not await redis.hexists(Keys(pool).counters, "d:default:task")
    assert await redis.xlen(Keys(pool).stream("default", Priority.TASK)) == 2


async def make_unusual(redis, pool, case):
    """Change a pool with two running and three ready jobs on one route, or one of its jobs."""
    match case:
        case "paused":
            await Inspector(redis).configure(pool, PoolSettings(routes=NARROW, paused=True))
        case "cordoned":
            await Inspector(redis).cordon(pool, [WorkerId("w")], hold_ms=60_000)
        case "unregistered":
            await redis.zrem(Keys(pool).workers, "w")
        case "full route":
            await Inspector(redis).configure(pool, PoolSettings(routes=(replace(NARROW[0], max_running=1),)))
        case "limits":
            await Inspector(redis).configure(pool, PoolSettings(limits=(Limit(name="all", max_running=9),)))
        case "different place":
            await Producer(redis, pool).submit(JobRequest(kind="y"))
        case "tombstone":
            await Producer(redis, pool).cancel(JobId("x-4"))
        case "watched":
            await scripts.WATCH.run(redis, Keys(pool).conf, ("x-0", "client"))
        case _:
            await redis.delete(Keys(pool).job(JobId("x-2")))


NARROW = (Route(name="one", kinds=("x",), max_running=2),)
UNUSUAL = (
    "paused", "cordoned", "unregistered", "full route", "limits", "different place", "tombstone", "watched",
    "lost record",
)  # fmt: skip


async def two_running(redis, pool, **options):
    """Create such a pool, and return the consumer with the leases of the running jobs."""
    await Inspector(redis).configure(pool, PoolSettings(routes=NARROW))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    requests = [JobRequest(kind="x", job_id=JobId(f"x-{number}"), **options) for number in range(5)]
    await Producer(redis, pool).submit_many(requests)
    return consumer, await consumer.claim(2)


async def is_left_to_the_whole_script(redis, pool, *args):
    """Whether the short exchange declines and writes nothing."""
    before = await contents(redis, pool)
    declined = await scripts.EXCHANGE_PLAIN.run(redis, Keys(pool).conf, args) == ["other"]
    return declined and await contents(redis, pool) == before


@pytest.mark.parametrize("case", UNUSUAL)
async def test_a_short_exchange_leaves_an_unusual_pool_to_the_whole_script(redis, pool, case):
    """Nothing is written, whatever makes the pool or a job unusual."""
    _, (lease, _) = await two_running(redis, pool)
    await make_unusual(redis, pool, case)
    assert await is_left_to_the_whole_script(redis, pool, "w", 1, 1, lease.job_id, lease.token, "succeeded", "null", "")


@pytest.mark.parametrize("change", ["SETID $", "SETID 0", "DESTROY"])
async def test_a_short_exchange_starts_only_jobs_that_the_group_has_delivered(redis, pool, change):
    """After a change of the group by hand no job is ended or started by halves: the whole script decides."""
    consumer, (lease, second) = await two_running(redis, pool)
    verb, *at = change.split()
    await redis.execute_command("XGROUP", verb, Keys(pool).stream("one", Priority.TASK), "pool", *at)
    jobs = [Keys(pool).job(JobId(f"x-{number}")) for number in range(5)]
    before = [await redis.hgetall(key) for key in jobs] + [await redis.hgetall(Keys(pool).counters)]
    args = ("w", 1, 1, lease.job_id, lease.token, "succeeded", "null", "")
    assert await scripts.EXCHANGE_PLAIN.run(redis, Keys(pool).conf, args) == ["other"]
    assert [await redis.hgetall(key) for key in jobs] + [await redis.hgetall(Keys(pool).counters)] == before
    await consumer.settle([Succeeded(job_id=each.job_id, token=each.token) for each in (lease, second)])
    assert (await Inspector(redis).job(pool, second.job_id)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("change", ["SETID $", "SETID 0", "DESTROY"])
async def test_a_short_claim_starts_only_a_job_that_the_group_has_delivered(redis, pool, change):
    """After a change of the group by hand the only ready job is not started by halves: the whole script decides."""
    await Inspector(redis).configure(pool, PoolSettings(routes=NARROW))
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=5, host="h")
    await producer.submit(JobRequest(kind="x"))
    (lease,) = await consumer.claim(1)
    ready = await producer.submit(JobRequest(kind="x"))
    verb, *at = change.split()
    await redis.execute_command("XGROUP", verb, Keys(pool).stream("one", Priority.TASK), "pool", *at)
    watched = (Keys(pool).job(ready.job_id), Keys(pool).counters)
    before = [await redis.hgetall(key) for key in watched]
    assert await scripts.CLAIM_PLAIN.run(redis, Keys(pool).conf, ("w", "")) == ["other"]
    assert [await redis.hgetall(key) for key in watched] == before
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    assert (await Inspector(redis).job(pool, lease.job_id)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("plain", [True, False])
async def test_jobs_end_though_a_hand_has_trimmed_their_stream(redis, pool, plain):
    """The counters and the events have both ends; no script stops between its writes."""
    await Inspector(redis).configure(pool, PoolSettings(routes=NARROW))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    await Producer(redis, pool).submit_many([JobRequest(kind="x") for _ in range(2)])
    leases = await consumer.claim(2)
    await redis.xtrim(Keys(pool).stream("one", Priority.TASK), 0, approximate=False)
    args = [part for each in leases for part in (each.job_id, each.token, "succeeded", "null", "")]
    script = scripts.EXCHANGE_PLAIN if plain else scripts.EXCHANGE
    outcomes, _ = await script.run(redis, Keys(pool).conf, ("w", 2, 1, *args))
    assert outcomes == ["applied", "applied"]
    assert await redis.hmget(Keys(pool).counters, "running", "finished", "succeeded") == ["0", "2", "2"]


async def test_a_short_exchange_leaves_unusual_completions_to_the_whole_script(redis, pool):
    """A stale token, a foreign lease, a repeated or named-twice completion, a failure, and no free slot."""
    consumer, (lease, second) = await two_running(redis, pool)
    await Consumer(redis, pool, WorkerId("other")).register(slots=5, host="h")
    ends = (lease.job_id, lease.token, "succeeded", "null", "")
    for args in (
        ("w", 1, 1, lease.job_id, lease.token + 1, "succeeded", "null", ""),
        ("w", 1, 1, lease.job_id, lease.token, "failed", "error", ""),
        ("other", 1, 1, *ends),
        ("w", 1, 1, *ends, *ends),
        ("w", 0, 1, *ends),
        ("w", 1, 1),
    ):
        assert await is_left_to_the_whole_script(redis, pool, *args), args
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    assert await is_left_to_the_whole_script(redis, pool, "w", 1, 1, *ends)
    assert not await is_left_to_the_whole_script(
        redis, pool, "w", 1, 1, second.job_id, second.token, "succeeded", "null", ""
    )


async def test_a_short_exchange_leaves_special_jobs_to_the_whole_script(redis, pool):
    """A preemptible job is in the order of those that yield, a child has a group, a requeued job a place."""
    _, (lease, _) = await two_running(redis, pool, preemptible=True)
    assert await is_left_to_the_whole_script(redis, pool, "w", 1, 1, lease.job_id, lease.token, "succeeded", "null", "")
    await Inspector(redis).purge(pool)
    _, (lease, second) = await two_running(redis, pool)
    spec = await redis.hget(Keys(pool).job(lease.job_id), "spec")
    await redis.hset(Keys(pool).job(lease.job_id), "spec", spec + "g")
    assert await is_left_to_the_whole_script(redis, pool, "w", 1, 1, lease.job_id, lease.token, "succeeded", "null", "")
    await redis.hset(Keys(pool).job(lease.job_id), "spec", spec)
    returned = (second.job_id, second.token, "drain", "", "")
    await scripts.SETTLE.run(redis, Keys(pool).conf, (1, "w", *returned))
    assert await is_left_to_the_whole_script(redis, pool, "w", 1, 1, lease.job_id, lease.token, "succeeded", "null", "")


async def test_a_short_exchange_that_keeps_failing_is_tried_less_often(redis, pool, monkeypatch):
    """The whole script decides alone while the pool is unusual, and the short script is tried again now and then."""
    tried = []
    run = scripts.Script.run
    monkeypatch.setattr(scripts.Script, "run", lambda self, *args: tried.append(self.name) or run(self, *args))
    consumer, producer = Consumer(redis, pool, WorkerId("w")), Producer(redis, pool)
    await consumer.register(slots=10, host="h")
    await producer.submit_many([JobRequest(kind="x", preemptible=True) for _ in range(21)])
    leases = await consumer.claim(1)
    for _ in range(20):
        _, leases = await consumer.exchange([Succeeded(job_id=leases[0].job_id, token=leases[0].token)], 1)
    assert (tried.count("exchange"), tried.count("exchange_plain")) == (20, 5)
