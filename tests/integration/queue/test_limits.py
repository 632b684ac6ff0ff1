"""Limits by key, tenant, kind and route: jobs at once, and starts in a period, over all workers."""

from __future__ import annotations

import hashlib

import pytest

from agentpool_core.errors import SettingError, UnknownLimitError
from agentpool_core.jobs import JobId, JobRequest, JobState, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, Limit, LimitBy, PoolSettings, Producer, Rate, Route
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded
from agentpool_core.queue.overrides import Override, override, overrides
from tests.fixtures.rollback import go_back, remember

LEASE_MS = 60_000
PER_KEY = Limit(name="per-key", by=LimitBy.KEY, max_running=2)
SLOWLY = Limit(name="slowly", kinds=("k",), rate=Rate(count=6, period_ms=60_000))


class Pool:
    """A pool with limits, and a worker with many slots."""

    def __init__(self, redis, pool) -> None:
        self.redis, self.ref = redis, pool
        self.prefix = f"ap:{{{pool}}}:"
        self.producer = Producer(redis, pool)
        self.inspector = Inspector(redis)

    async def limit(self, *limits, **settings) -> None:
        await self.inspector.configure(self.ref, PoolSettings(lease_ms=LEASE_MS, limits=limits, **settings))

    async def worker(self, name="w1") -> Consumer:
        consumer = Consumer(self.redis, self.ref, WorkerId(name))
        await consumer.register(slots=100, host="here")
        return consumer

    async def submit(self, count=1, **fields) -> list[JobId]:
        fields.setdefault("kind", "k")
        return [receipt.job_id for receipt in await self.producer.submit_many([JobRequest(**fields)] * count)]

    async def job(self, job_id):
        return await self.inspector.job(self.ref, job_id)

    async def snapshot(self):
        return await self.inspector.snapshot(self.ref)

    async def pass_time(self, ms) -> None:
        await self.redis.hincrby(f"{self.prefix}counters", "clock_offset_ms", ms)

    async def holds_nothing(self) -> bool:
        """Whether no limit counts or holds a job any more."""
        left = [
            key
            async for key in self.redis.scan_iter(match=f"{self.prefix}*")
            if key.startswith((f"{self.prefix}using:", f"{self.prefix}held:"))
        ]
        return not left and not await self.redis.zcard(f"{self.prefix}limited")


@pytest.fixture
async def limited(redis, pool):
    limited = Pool(redis, pool)
    await limited.limit(PER_KEY)
    return limited


def ids(leases) -> list[JobId]:
    return [lease.job_id for lease in leases]


def done(lease) -> Succeeded:
    return Succeeded(job_id=lease.job_id, token=lease.token)


async def test_a_full_key_holds_its_jobs_and_blocks_no_other(limited):
    """Two jobs of a key run; a third job waits beside the stream, and jobs behind that job start."""
    acme = await limited.submit(4, limit_key="acme")
    other = await limited.submit(1, limit_key="other")
    free = await limited.submit(1)
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == [*acme[:2], *other, *free]
    assert await worker.claim(10) == []
    held = await limited.job(acme[2])
    assert (held.state, held.held_by, held.limit_key) == (JobState.QUEUED, "per-key", "acme")
    snapshot = await limited.snapshot()
    assert (snapshot.queued, snapshot.held, snapshot.running) == (0, 2, 4)
    assert [(limit.name, limit.waiting) for limit in snapshot.limits] == [("per-key", 2)]


async def test_a_free_slot_of_a_key_starts_its_next_job(limited):
    """The first job that waits starts when a job of its key ends, and the others follow in order."""
    acme = await limited.submit(5, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    order = ids(leases)
    while leases:
        _, more = await worker.exchange([done(leases.pop(0))], 10)
        leases += more
        order += ids(more)
    assert order == acme
    assert await limited.holds_nothing()


@pytest.mark.parametrize("way", ["failed", "drain", "cancelled", "lost", "crashed", "left"])
async def test_a_slot_of_a_key_returns_on_every_path(limited, way):
    """However an attempt ends, the key's slots serve the next jobs, and no slot counts twice."""
    first = await limited.submit(2, limit_key="acme", max_attempts=3)
    worker = await limited.worker("w1")
    leases = await worker.claim(10)
    waiting = await limited.submit(1, limit_key="acme")
    other = await limited.worker("w2")
    assert await other.claim(10) == []
    match way:
        case "failed":
            await worker.settle([Failed(job_id=le.job_id, token=le.token, error="no", retry=False) for le in leases])
        case "drain":
            reason = ReturnReason("drain")
            await worker.settle([Returned(job_id=le.job_id, token=le.token, reason=reason) for le in leases])
        case "cancelled":
            for job in first:
                await limited.producer.cancel(job)
            await worker.settle([Failed(job_id=le.job_id, token=le.token, error="no") for le in leases])
        case "lost":
            await limited.pass_time(2 * LEASE_MS)
            other = await limited.worker("w2")
            await other.maintain()
        case "crashed":
            await Consumer(limited.redis, limited.ref, worker.worker).report_crash("killed", ())
        case "left":
            await worker.deregister()
    started = ids(await other.claim(10))
    assert started == (first if way in {"drain", "lost", "crashed", "left"} else waiting)
    assert await audit(limited.redis, limited.ref) == []


async def test_a_held_job_can_be_cancelled_and_expires(limited):
    """A job that waits for a limit leaves it, and the counters add up."""
    await limited.submit(2, limit_key="acme")
    one, two = await limited.submit(2, limit_key="acme", ttl_ms=1_000)
    worker = await limited.worker()
    leases = await worker.claim(10)
    await limited.producer.cancel(one)
    await limited.pass_time(2_000)
    assert (await worker.maintain()).expired == 1
    assert [(await limited.job(job)).state for job in (one, two)] == ["cancelled", "expired"]
    assert (await limited.snapshot()).held == 0
    await worker.settle(list(map(done, leases)))
    assert await limited.holds_nothing()
    assert await audit(limited.redis, limited.ref) == []


async def test_a_job_under_two_limits_occupies_only_the_limit_that_holds_the_job(limited):
    """A job that one limit releases and a second limit holds does not keep a slot of the first limit."""
    kind = Limit(name="one-slow", kinds=("slow",), max_running=1)
    await limited.limit(Limit(name="per-key", by=LimitBy.KEY, max_running=1), kind)
    (a1,) = await limited.submit(1, kind="fast", limit_key="a")
    (slow,) = await limited.submit(1, kind="slow", limit_key="b")
    (a2,) = await limited.submit(1, kind="slow", limit_key="a")
    (a3,) = await limited.submit(1, kind="fast", limit_key="a")
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert ids(leases) == [a1, slow]
    await worker.settle([done(leases[0])])
    assert ids([*await worker.claim(10), *await worker.claim(10)]) == [a3], "the first claim moves a2, and rings"
    assert (await limited.job(a2)).held_by == "one-slow"
    await worker.settle([done(leases[1])])
    assert await worker.claim(10) == []
    assert (await limited.job(a2)).held_by == "per-key"


async def test_a_job_with_a_key_and_no_tenant_passes_limits_by_tenant(limited):
    """A job has a key, a tenant, both or neither; only limits by a value that the job has apply, and claims succeed."""
    await limited.limit(PER_KEY, Limit(name="per-tenant", by=LimitBy.TENANT, max_running=1))
    key = await limited.submit(1, limit_key="acme")
    tenant = await limited.submit(1, tenant="acme")
    both = await limited.submit(1, limit_key="acme", tenant="beta")
    neither = await limited.submit(1)
    third = await limited.submit(1, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert sorted(ids(leases)) == sorted([*key, *tenant, *both, *neither])
    await worker.settle(list(map(done, leases)))
    assert ids(await worker.claim(10)) == third


async def test_starts_keep_to_a_rate(limited):
    """Six starts a minute: one every ten seconds for all workers together, and the rest waits for its time."""
    await limited.limit(SLOWLY)
    jobs = await limited.submit(4)
    free = await limited.submit(1, kind="other")
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == [jobs[0], *free]
    assert (await limited.job(jobs[1])).held_by == "slowly"
    await limited.pass_time(5_000)
    assert await worker.claim(10) == []
    await limited.pass_time(5_000)
    assert ids(await worker.claim(10)) == [jobs[1]]
    await limited.pass_time(30_000)
    assert ids(await worker.claim(10)) == [jobs[2]], "time that passed unused is no burst"
    due = (await worker.maintain()).next_due_ms
    assert due is not None
    assert 9_000 < due <= 10_000


async def test_a_limit_that_opens_is_due_for_the_operator(limited):
    """Held jobs are no backlog; when their limit opens, the snapshot reports due maintenance."""
    await limited.limit(SLOWLY)
    await limited.submit(4)
    worker = await limited.worker()
    await worker.claim(10)
    before = await limited.snapshot()
    assert (before.queued, before.held, before.due) == (0, 3, 0)
    await limited.pass_time(10_000)
    assert (await limited.snapshot()).due == 1
    await worker.maintain()
    after = await limited.snapshot()
    assert (after.queued, after.held, after.due) == (1, 2, 0)
    await limited.redis.zadd(f"{limited.prefix}limited", {"slowly": 0})
    await worker.maintain()
    again = await limited.snapshot()
    assert (again.queued, again.held) == (1, 2), "the job that was let go has the only start"


async def test_a_faster_rate_applies_at_once(limited):
    """After one start a day, a pause of a minute is enough for the new rate, although the day has not passed."""
    await limited.limit(Limit(name="slowly", kinds=("k",), rate=Rate(count=1, period_ms=86_400_000)))
    jobs = await limited.submit(3)
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == jobs[:1]
    await limited.limit(Limit(name="slowly", kinds=("k",), rate=Rate(count=1, period_ms=60_000)))
    await worker.maintain()
    started = []
    for _ in range(8):
        await limited.pass_time(LEASE_MS // 4)
        await worker.renew(slots=100, running=1)
        await worker.maintain()
        started += ids(await worker.claim(10))
    assert started == jobs[1:]


async def test_a_time_that_is_no_number_leaves_the_limit_readable(limited):
    """An unreachable start time of a rate reads as a free rate."""
    await limited.limit(Limit(name="slowly", rate=Rate(count=6, period_ms=60_000)))
    await limited.redis.zadd(f"{limited.prefix}limit-times", {"slowly": "inf"})
    assert [limit.free for limit in (await limited.snapshot()).limits] == [1]


async def test_a_burst_starts_at_once(limited):
    """After a pause as many jobs as the burst start together, and then one job per interval."""
    await limited.limit(Limit(name="bursts", by=LimitBy.TENANT, rate=Rate(count=6, period_ms=60_000, burst=3)))
    jobs = await limited.submit(5, tenant="acme")
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == jobs[:3]
    await limited.pass_time(10_000)
    assert ids(await worker.claim(10)) == jobs[3:4]


async def test_a_rate_of_a_whole_route_leaves_its_jobs_in_the_stream(limited):
    """A limit without kinds shuts the route, so nothing is moved, and maintenance wakes a worker when it opens."""
    gate = Limit(name="gate", routes=("r",), rate=Rate(count=6, period_ms=60_000, burst=2))
    await limited.limit(gate, routes=(Route(name="r", kinds=("k",)),))
    jobs = await limited.submit(4)
    free = await limited.submit(1, kind="other")
    worker = await limited.worker()
    assert sorted(ids(await worker.claim(10))) == sorted([*jobs[:2], *free])
    snapshot = await limited.snapshot()
    assert (snapshot.held, snapshot.limits[0].free, snapshot.limits[0].routes) == (0, 0, ("r",))
    await limited.redis.delete(f"{limited.prefix}bell")
    await limited.pass_time(10_000)
    await worker.maintain()
    assert await limited.redis.llen(f"{limited.prefix}bell") == 1
    assert ids(await worker.claim(10)) == jobs[2:3]


async def test_one_limit_spans_routes(limited):
    """Jobs of two routes share the slots of a limit without kinds."""
    shared = Limit(name="shared", routes=("a", "b"), max_running=3)
    await limited.limit(shared, routes=(Route(name="a", kinds=("ka",)), Route(name="b", kinds=("kb",))))
    await limited.submit(2, kind="ka")
    await limited.submit(2, kind="kb")
    worker = await limited.worker()
    assert (await limited.snapshot()).limits[0].free == 3
    leases = await worker.claim(10)
    assert len(leases) == 3
    assert (await limited.snapshot()).limits[0].free == 0
    assert await worker.claim(10) == []
    await worker.settle([done(leases[0])])
    assert len(await worker.claim(10)) == 1


async def test_a_full_route_keeps_no_slot_of_a_key(limited):
    """The next job of a key waits for its full route; the key's slot goes to a job of another route."""
    key = Limit(name="per-key", by=LimitBy.KEY, max_running=1)
    await limited.limit(key, routes=(Route(name="full", kinds=("kf",), max_running=1),))
    await limited.submit(1, kind="kf")
    await limited.submit(1, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert len(leases) == 2
    (first,) = await limited.submit(1, kind="kf", limit_key="acme")
    (second,) = await limited.submit(1, limit_key="acme")
    await limited.limit(key, routes=(Route(name="full", kinds=("kf",), max_running=2),))
    assert await worker.claim(10) == []
    assert [(await limited.job(job)).held_by for job in (first, second)] == ["per-key", "per-key"]
    await limited.limit(key, routes=(Route(name="full", kinds=("kf",), max_running=1),))
    await worker.settle([done(next(lease for lease in leases if lease.route == "default"))])
    assert ids(await worker.claim(10)) == [second]
    assert await audit(limited.redis, limited.ref) == []


async def test_maintenance_gives_the_slots_of_a_lost_worker_on(limited):
    """A pass that has looked at a full key before it recovers a lost worker opens the key all the same."""
    lost = await limited.worker("lost")
    for job in await limited.submit(2, limit_key="acme"):
        assert ids(await lost.claim(1)) == [job]
        await limited.producer.cancel(job)
    waiting = await limited.submit(2, limit_key="acme")
    other = await limited.worker("other")
    assert await other.claim(10) == []
    await limited.pass_time(2 * LEASE_MS)
    other = await limited.worker("other")
    await limited.redis.hdel(f"{limited.prefix}counters", "audit_at")
    assert (await other.maintain()).recovered == 2
    assert ids(await other.claim(10)) == waiting


async def test_an_urgent_job_of_a_full_key_starts_first(limited):
    """Among the jobs that wait for a key, priority and patience decide, as among heads."""
    await limited.submit(2, limit_key="acme")
    (info,) = await limited.submit(1, limit_key="acme", priority=Priority.INFO)
    (task,) = await limited.submit(1, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert len(leases) == 2
    await worker.settle([done(leases[0])])
    assert ids(await worker.claim(10)) == [task]
    await worker.settle([done(leases[1])])
    assert ids(await worker.claim(10)) == [info]


async def test_a_removed_limit_lets_its_jobs_go(limited):
    """Jobs that wait for a limit which the pool no longer has become ready."""
    jobs = await limited.submit(5, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    await worker.claim(10)
    await limited.limit()
    await worker.maintain()
    more = await worker.claim(10)
    assert ids(more) == jobs[2:]
    await worker.settle(list(map(done, [*leases, *more])))
    assert await limited.holds_nothing()


async def test_a_raised_limit_lets_more_jobs_go(limited):
    """A change of the settings applies at once to the jobs that wait."""
    jobs = await limited.submit(5, limit_key="acme")
    worker = await limited.worker()
    await worker.claim(10)
    await limited.limit(Limit(name="per-key", by=LimitBy.KEY, max_running=4))
    assert ids(await worker.claim(10)) == jobs[2:4]


async def test_a_route_with_a_single_free_slot_keeps_no_further_room_of_a_key(limited):
    """The key's second free slot goes to a job of another route, not to a job that its route would let wait."""
    await limited.limit(PER_KEY, routes=(Route(name="r", kinds=("kr",), max_running=1),))
    await limited.submit(2, limit_key="acme")
    worker = await limited.worker()
    running = await worker.claim(10)
    first, _ = await limited.submit(2, kind="kr", limit_key="acme")
    (other,) = await limited.submit(1, limit_key="acme")
    assert await worker.claim(10) == []
    await worker.settle(list(map(done, running)))
    assert set(ids(await worker.claim(10))) == {first, other}


async def test_many_held_jobs_are_passed_in_steps(limited):
    """A claim moves a bounded number of jobs of a full key, and rings for the rest."""
    await limited.submit(1_500, limit_key="acme")
    free = await limited.submit(1)
    worker = await limited.worker()
    started = []
    for _ in range(20):
        started += ids(await worker.claim(100))
    assert started[2:] == free
    assert (await limited.snapshot()).held == 1_498


def overloaded(lease, after_ms) -> Returned:
    reason = ReturnReason.OVERLOADED
    return Returned(job_id=lease.job_id, token=lease.token, reason=reason, after_ms=after_ms, said="429")


async def test_an_overload_pauses_the_route(limited):
    """A handler that knows the end of its overload stops the starts of its own route only."""
    await limited.limit(routes=(Route(name="r", kinds=("k",)),))
    first, second = await limited.submit(2)
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([overloaded(lease, 10_000)])
    (free,) = await limited.submit(1, kind="other")
    assert ids(await worker.claim(10)) == [free]
    route = next(each for each in (await limited.snapshot()).routes if each.name == "r")
    assert 9_000 < route.paused_ms <= 10_000
    await limited.redis.delete(f"{limited.prefix}bell")
    await limited.pass_time(10_000)
    await worker.maintain()
    assert await limited.redis.llen(f"{limited.prefix}bell") == 1
    assert ids(await worker.claim(10)) == [first, second]


async def test_an_idle_worker_respects_a_paused_route(limited):
    """The short claim behind the bell starts no job of a paused route either."""
    await limited.limit()
    await limited.submit(1)
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([overloaded(lease, 10_000)])
    await limited.submit(1)
    _, leases = await worker.wait_and_claim(1, 10)
    assert leases == []


@pytest.mark.parametrize("limit", [PER_KEY, Limit(name="rates", by=LimitBy.KEY, rate=Rate(count=60, period_ms=1_000))])
async def test_an_overload_pauses_only_its_key(limited, limit):
    """With a limit by key, the jobs of other keys start meanwhile."""
    await limited.limit(limit)
    first, second = await limited.submit(2, limit_key="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([overloaded(lease, 10_000)])
    other = await limited.submit(1, limit_key="other")
    assert ids(await worker.claim(10)) == other
    assert (await limited.job(second)).held_by == limit.name
    await limited.pass_time(10_000)
    await worker.maintain()
    again = ids(await worker.claim(10))
    await limited.pass_time(1_000)
    await worker.maintain()
    assert sorted([*again, *ids(await worker.claim(10))]) == sorted([first, second])


async def test_an_overload_without_a_time_pauses_nothing_else(limited):
    """Only the job itself waits, by the pool's backoff, as before."""
    _, second = await limited.submit(2, limit_key="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([overloaded(lease, None)])
    assert ids(await worker.claim(10)) == [second]


async def test_a_pause_is_bounded_by_the_longest_backoff(limited):
    """A service that asks for a day does not stop its route for longer than retry.maxSeconds."""
    await limited.limit(retry_max_ms=20_000)
    await limited.submit(1)
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([overloaded(lease, 86_400_000)])
    assert (await limited.snapshot()).routes[0].paused_ms <= 20_000


async def test_a_key_can_have_a_bound_of_its_own(limited):
    """An override applies at once, to its key alone, until it is reset."""
    acme = await limited.submit(6, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert await override(limited.redis, limited.ref, "per-key", "acme", 4)
    assert await overrides(limited.redis, limited.ref) == [Override(limit="per-key", subject="acme", bound=4)]
    more = await worker.claim(10)
    assert ids([*leases, *more]) == acme[:4]
    assert len(await worker.claim(10)) == 0
    assert await override(limited.redis, limited.ref, "per-key", "acme", None)
    assert not await override(limited.redis, limited.ref, "per-key", "acme", None)
    await worker.settle(list(map(done, [*leases, more[0]])))
    assert len(await worker.claim(10)) == 1
    other = await limited.submit(3, limit_key="other")
    assert ids(await worker.claim(10)) == other[:2]


@pytest.mark.parametrize(
    ("name", "bound"), [("unknown", 2), ("per-key", Rate(count=1, period_ms=1_000)), ("undivided", 3)]
)
async def test_a_bound_needs_a_limit_by_key(limited, name, bound):
    """An unknown limit, an undivided limit and a different measure are refused; the error lists the existing limits."""
    await limited.limit(PER_KEY, Limit(name="undivided", max_running=3))
    with pytest.raises(UnknownLimitError) as refused:
        await override(limited.redis, limited.ref, name, "acme", bound)
    assert refused.value.known == ("per-key key max_running",)
    with pytest.raises(SettingError, match="printable ASCII"):
        await override(limited.redis, limited.ref, "per-key", "new\nline", 2)


async def test_repair_corrects_the_counts_of_a_limit(limited):
    """Lost and foreign members are found and corrected, and the slots serve again."""
    jobs = await limited.submit(4, limit_key="acme")
    worker = await limited.worker()
    leases = await worker.claim(10)
    (using,) = [key async for key in limited.redis.scan_iter(match=f"{limited.prefix}using:*")]
    (held,) = [key async for key in limited.redis.scan_iter(match=f"{limited.prefix}held:*")]
    await limited.redis.sadd(using, "gone")
    await limited.redis.srem(using, jobs[0])
    await limited.redis.zrem(held, jobs[3])
    await limited.redis.hset(f"{limited.prefix}counters", "w:per-key", 7)
    found = await audit(limited.redis, limited.ref, repair=True)
    assert {(each.kind, each.what) for each in found} >= {
        ("miscounted", "gone"),
        ("miscounted", jobs[0]),
        ("order_lost", jobs[3]),
        ("counter", "w:per-key"),
    }
    assert await audit(limited.redis, limited.ref) == []
    await worker.settle(list(map(done, leases)))
    assert ids(await worker.claim(10)) == jobs[2:]


async def test_a_rolled_back_redis_keeps_its_limits(limited, redis_url):
    """Leases that the queue has lost take no slot of their key."""
    jobs = await limited.submit(4, limit_key="acme")
    worker = await limited.worker()
    moment = await remember(redis_url, limited.ref)
    assert len(await worker.claim(10)) == 2
    await go_back(redis_url, moment)
    worker.compare_holdings()
    assert ids(await worker.claim(10)) == jobs[:2]
    assert await audit(limited.redis, limited.ref) == []


@pytest.mark.parametrize("text", ["", "x", "0\nacme", "5", "9 9 9\nacme", "9" * 400 + "\nacme"])
async def test_an_unreadable_override_leaves_the_limit_as_it_is(limited, text):
    """Claims and lists ignore numbers that `override` does not write, and apply the limit's own."""
    bucket = f"per-key:{hashlib.sha1(b'acme', usedforsecurity=False).hexdigest()}"
    await limited.redis.hset(f"{limited.prefix}limit-overrides", bucket, text)
    acme = await limited.submit(3, limit_key="acme")
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == acme[:2]
    assert [each.text for each in await overrides(limited.redis, limited.ref)] == (
        ["9 in 0.009 s"] if " " in text else []
    )


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, 2**40, Rate(count=0, period_ms=1), Rate(count=1, period_ms=0)])
async def test_an_invalid_bound_is_refused(limited, bound):
    """A bound is a whole number from 1; the error names the bad value, and the queue stores nothing."""
    with pytest.raises(SettingError, match="not a whole number from 1 to"):
        await override(limited.redis, limited.ref, "per-key", "acme", bound)
    assert await overrides(limited.redis, limited.ref) == []


async def test_a_pause_beyond_the_longest_counts_as_none(limited):
    """A pause time that no handler can request holds no route and no key."""
    acme = await limited.submit(1, limit_key="acme")
    bucket = f"per-key:{hashlib.sha1(b'acme', usedforsecurity=False).hexdigest()}"
    await limited.redis.zadd(f"{limited.prefix}limit-times", {f"~{bucket}": 1e15})
    await limited.redis.hset(f"{limited.prefix}counters", "p:default", "9" * 15)
    assert [route.paused_ms for route in (await limited.snapshot()).routes] == [0]
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == acme
    await worker.maintain()
    assert await limited.redis.hget(f"{limited.prefix}counters", "p:default") == "0"


async def test_a_job_let_go_keeps_no_key_from_others_when_its_route_has_filled(limited):
    """The key let the job go while its route had room; a more urgent job took that. The audit frees the key."""
    await limited.limit(
        Limit(name="one", by=LimitBy.KEY, max_running=1), routes=(Route(name="a", kinds=("a",), max_running=1),)
    )
    worker = await limited.worker()
    await limited.submit(1, limit_key="acme")
    (lease,) = await worker.claim(9)
    (shut,) = await limited.submit(1, kind="a", limit_key="acme")
    first_ms = await limited.redis.time()
    while await limited.redis.time() < (first_ms[0], first_ms[1] + 1_000):
        pass  # the next job is younger
    (other,) = await limited.submit(1, limit_key="acme")
    assert await worker.claim(9) == []
    await worker.settle([done(lease)])
    urgent = await limited.submit(1, kind="a", priority=Priority.CRITICAL)
    (first,) = await worker.claim(1)
    assert [first.job_id] == urgent
    assert await worker.claim(9) == []
    await limited.pass_time(20_000)
    await worker.maintain()
    (second,) = await worker.claim(9)
    assert second.job_id == other
    await worker.settle([done(first), done(second)])
    assert ids(await worker.claim(9)) == [shut]
