"""Fair shares: tenants of one route and priority take turns by weight."""

from __future__ import annotations

from collections import Counter

import pytest

from agentpool_core.jobs import JobId, JobRequest, JobState, Priority
from agentpool_core.queue import Limit, LimitBy, Route, Tenant
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Returned, ReturnReason
from agentpool_core.queue.tenant_waits import MOST_TENANTS, longest_waits
from tests.integration.queue.test_limits import Pool, done, ids


@pytest.fixture
async def shared(redis, pool):
    shared = Pool(redis, pool)
    await shared.limit(tenants=(Tenant(name="gold", weight=3),))
    return shared


async def jobs_of(shared, **counts) -> dict[JobId, str]:
    """Submit jobs, tenant by tenant; return the tenant of each."""
    return {job: tenant for tenant, count in counts.items() for job in await shared.submit(count, tenant=tenant)}


async def order_of(worker, tenants, slots=1) -> list[str]:
    """Return the tenants in the order of the starts; each job ends before the next claim."""
    order = []
    while leases := await worker.claim(slots):
        order += [tenants[lease.job_id] for lease in leases]
        await worker.settle(list(map(done, leases)))
    return order


async def test_tenants_take_turns(shared):
    """An earlier tenant with more jobs takes turns with later tenants."""
    tenants = await jobs_of(shared, heavy=6, light=2)
    order = await order_of(await shared.worker(), tenants)
    assert order == ["heavy", "light", "heavy", "light", "heavy", "heavy", "heavy", "heavy"]


async def test_a_weight_is_a_share_of_the_starts(shared):
    """A tenant of weight 3 starts three jobs for each of a tenant of weight 1, in one claim or in many."""
    tenants = await jobs_of(shared, gold=12, plain=12)
    worker = await shared.worker()
    assert Counter((await order_of(worker, tenants))[:12]) == {"gold": 9, "plain": 3}
    tenants = await jobs_of(shared, gold=12, plain=12)
    leases = await worker.claim(12)
    assert Counter(tenants[lease.job_id] for lease in leases) == {"gold": 9, "plain": 3}


async def test_an_idle_tenant_saves_nothing(shared):
    """A returning tenant has the next turn and the usual share, and at most one additional start."""
    tenants = await jobs_of(shared, busy=15)
    worker = await shared.worker()
    for _ in range(5):
        await worker.settle(list(map(done, await worker.claim(1))))
    tenants |= await jobs_of(shared, late=10)
    order = await order_of(worker, tenants)
    assert order[0] == "late"
    assert Counter(order[:10])["late"] in {5, 6}


async def test_jobs_without_a_tenant_count_as_a_tenant(shared):
    """Such jobs take turns with the lines of tenants, for early and for late submits."""
    before = await shared.submit(4)
    tenants = await jobs_of(shared, acme=4)
    later = await shared.submit(4)
    tenants |= dict.fromkeys([*before, *later], "none")
    order = await order_of(await shared.worker(), tenants)
    assert Counter(order[:8]) == {"acme": 4, "none": 4}
    assert len(order) == 12


async def test_priorities_keep_their_meaning(shared):
    """A tenant's urgent job does not wait for the turns of a lower priority."""
    tenants = await jobs_of(shared, heavy=3)
    urgent = await shared.submit(2, tenant="heavy", priority=Priority.CRITICAL)
    worker = await shared.worker()
    assert ids(await worker.claim(2)) == urgent
    assert len(await order_of(worker, tenants)) == 3


async def test_a_requeued_job_keeps_its_place(shared):
    """A started and requeued job has had a turn, and does not wait for a second turn."""
    tenants = await jobs_of(shared, heavy=5, light=1)
    worker = await shared.worker()
    (lease,) = await worker.claim(1)
    await worker.settle([Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)])
    assert ids(await worker.claim(1)) == [lease.job_id]
    assert len(tenants) == 6


async def test_waiting_jobs_leave_their_line(shared):
    """Cancelled and expired jobs take no turn, and the counters add up."""
    one, two, three = await shared.submit(3, tenant="acme")
    (four,) = await shared.submit(1, tenant="acme", ttl_ms=1_000)
    snapshot = await shared.snapshot()
    assert (snapshot.queued, snapshot.oldest_wait_ms is not None) == (4, True)
    await shared.producer.cancel(two)
    await shared.pass_time(2_000)
    worker = await shared.worker()
    assert (await worker.maintain()).expired == 1
    assert (await shared.job(four)).state == "expired"
    assert await audit(shared.redis, shared.ref) == []
    assert ids(await worker.claim(10)) == [one, three]
    assert (await shared.snapshot()).queued == 0
    assert await audit(shared.redis, shared.ref) == []


async def test_a_job_that_expires_as_the_first_line_begins_is_counted_once(shared):
    """A round that expires a job without a tenant, and makes the first job with a tenant ready, counts each once."""
    (first,) = await shared.submit(1)
    await shared.submit(1, ttl_ms=1_000)
    (last,) = await shared.submit(1, tenant="acme", delay_ms=1_000)
    await shared.pass_time(2_000)
    worker = await shared.worker()
    assert (await worker.maintain()).expired == 1
    assert await audit(shared.redis, shared.ref) == []
    assert (await shared.snapshot()).queued == 2
    assert ids(await worker.claim(10)) == [first, last]


async def test_children_delayed_and_replayed_jobs_take_turns(shared):
    """A job that becomes ready in any way waits in the line of the job's tenant."""
    tenants = await jobs_of(shared, heavy=4)
    (parent,) = await shared.submit(1, priority=Priority.CRITICAL)
    (child,) = await shared.submit(1, tenant="light", after=(parent,))
    (delayed,) = await shared.submit(1, tenant="late", delay_ms=1_000)
    worker = await shared.worker()
    await worker.settle(list(map(done, await worker.claim(1))))
    await shared.pass_time(2_000)
    await worker.maintain()
    tenants |= {child: "light", delayed: "late"}
    assert sorted((await order_of(worker, tenants))[:3]) == ["heavy", "late", "light"]


async def test_limits_hold_jobs_of_a_line(shared):
    """A tenant at the limit passes turns to the remaining tenants, and held jobs return in order."""
    await shared.limit(Limit(name="each", by=LimitBy.TENANT, max_running=1))
    tenants = await jobs_of(shared, heavy=4, light=4)
    worker = await shared.worker()
    leases = await worker.claim(10)
    assert sorted(tenants[lease.job_id] for lease in leases) == ["heavy", "light"]
    order = []
    while leases:
        await worker.settle(list(map(done, leases)))
        order += [tenants[lease.job_id] for lease in leases]
        leases = await worker.claim(10)
    assert Counter(order) == {"heavy": 4, "light": 4}
    assert await shared.holds_nothing()


async def test_routes_have_turns_of_their_own(shared):
    """A tenant's share of one route does not count against the share of a second route."""
    await shared.limit(routes=(Route(name="r", kinds=("kr",), max_running=1),))
    await shared.submit(3, kind="kr", tenant="a")
    await shared.submit(3, kind="k", tenant="a")
    worker = await shared.worker()
    leases = await worker.claim(10)
    assert Counter(lease.route for lease in leases) == {"r": 1, "default": 3}


async def test_many_tenants_are_listed_and_purged(shared):
    """Every waiting job is found, and a purge leaves no line."""
    for number in range(30):
        await shared.submit(2, tenant=f"tenant {number}")
    await shared.submit(2)
    assert len(await shared.inspector.jobs(shared.ref, JobState.QUEUED, limit=100)) == 62
    await shared.inspector.purge(shared.ref)
    assert [key async for key in shared.redis.scan_iter(match=f"{shared.prefix}*")] == []
    await shared.limit()


async def test_repair_restores_lost_lines(shared):
    """Redis has lost a line and the turns: the audit finds the jobs in the stream, and the jobs start."""
    jobs = await shared.submit(3, tenant="acme")
    lost = [key async for key in shared.redis.scan_iter(match=f"{shared.prefix}line:*")]
    await shared.redis.delete(*lost, f"{shared.prefix}turns:default:task")
    found = await audit(shared.redis, shared.ref, repair=True)
    assert [(each.kind, each.what) for each in found] == [("order_lost", job) for job in jobs]
    assert await audit(shared.redis, shared.ref) == []
    worker = await shared.worker()
    assert ids(await worker.claim(10)) == jobs


async def test_many_plain_jobs_before_the_first_tenant_are_moved_in_steps(shared):
    """A tenant's first job takes turns with the plain jobs, and does not wait for all of them."""
    plain = await shared.submit(400)
    tenants = dict.fromkeys(plain, "none") | await jobs_of(shared, acme=1)
    order = await order_of(await shared.worker(), tenants, slots=10)
    assert len(order) == 401
    assert order.index("acme") < 100


async def test_a_pool_without_tenants_has_no_lines(shared):
    """Jobs without a tenant stay undelivered in the stream."""
    await shared.producer.submit(JobRequest(kind="k"))
    await shared.submit(3)
    counters = await shared.redis.hgetall(f"{shared.prefix}counters")
    assert (counters["q:default:task"], "n:default:task" in counters) == ("4", False)


async def test_the_longest_waits_name_their_tenants(shared):
    """The oldest ready job of a tenant counts, over all priorities; the list is bounded, the longest wait first."""
    assert await longest_waits(shared.redis, shared.ref, await shared.snapshot()) == ()
    await shared.submit(2, tenant="slow")
    await shared.pass_time(60_000)
    await shared.submit(3)
    await shared.submit(2, tenant="slow", priority=Priority.CRITICAL)
    for number in range(MOST_TENANTS + 3):
        await shared.submit(tenant=f"late-{number:02}")
    waits = await longest_waits(shared.redis, shared.ref, await shared.snapshot())
    assert [wait.tenant for wait in waits] == ["slow", *(f"late-{number:02}" for number in range(MOST_TENANTS - 1))]
    assert waits[0].ms >= 60_000
    worker = await shared.worker()
    while leases := await worker.claim(100):
        await worker.settle(list(map(done, leases)))
    assert await longest_waits(shared.redis, shared.ref, await shared.snapshot()) == ()
