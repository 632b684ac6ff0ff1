"""Rates of tokens: an estimate at the start, corrected by the reported usage, once on every path."""

from __future__ import annotations

import pytest

from agentpool_core.errors import UnknownLimitError
from agentpool_core.jobs import JobState
from agentpool_core.pending_reason import pending_reason
from agentpool_core.queue import Limit, LimitBy, Rate, RateUnit, Route
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Failed, Returned, ReturnReason
from agentpool_core.queue.overrides import Override, override, overrides
from agentpool_core.queue.usage import UsageReport
from tests.integration.queue.test_limits import Pool, done, ids

TOKEN_MS = 60_000  # between two tokens: far longer than a test
RATE = Rate(count=1_000, period_ms=1_000 * TOKEN_MS, burst=1_000, unit=RateUnit.TOKENS)
ROUTES = (Route(name="models", kinds=("k",), tokens=200),)


@pytest.fixture
async def limited(redis, pool):
    limited = Pool(redis, pool)
    await limited.limit(Limit(name="tpm", rate=RATE), routes=ROUTES)
    return limited


async def use(worker, lease, tokens, number=1):
    await worker.use(lease, number, [UsageReport(input_tokens=tokens)])


async def free(limited) -> int:
    """Return the free tokens of the rate `tpm`."""
    full_at = float(await limited.redis.zscore(f"{limited.prefix}limit-times", "tpm") or 0)
    seconds, microseconds = await limited.redis.time()
    offset = int(await limited.redis.hget(f"{limited.prefix}counters", "clock_offset_ms") or 0)
    ahead_ms = max(0.0, full_at - (seconds * 1000 + microseconds // 1000 + offset))
    return round(RATE.burst - ahead_ms / TOKEN_MS)


async def pass_tokens(limited, tokens):
    """Let the time of so many tokens pass; return a new worker, because the leases of the others have ended."""
    await limited.pass_time(tokens * TOKEN_MS)
    return await limited.worker("later")


async def test_jobs_start_as_far_as_their_tokens_are_free(limited):
    """The declared tokens count, or those of the route; the reason names the rate and the time at which it has room."""
    first = await limited.submit(1, tokens=700)
    second = await limited.submit(2)
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == [*first, second[0]]
    job, snapshot = await limited.job(second[1]), await limited.snapshot()
    reason = pending_reason(job, snapshot)
    assert reason.startswith("the job waits for the limit 'tpm' of 1000 tokens in 60000 s, which has room again in ")
    assert 99 * TOKEN_MS < job.held_until_ms - snapshot.taken_at_ms <= 100 * TOKEN_MS
    assert (snapshot.held, snapshot.due) == (1, 0)
    worker = await pass_tokens(limited, 100)
    assert (await limited.snapshot()).due == 1
    assert ids(await worker.claim(10)) == second[1:]
    assert (await limited.job(first[0])).tokens == 700


async def test_reported_usage_replaces_the_estimate(limited):
    """Less returns at the end, and starts the next job; more is taken at once; no report: the estimate stands."""
    jobs = await limited.submit(4, tokens=800)
    worker = await limited.worker()
    (lease,) = await worker.claim(10)
    await use(worker, lease, 50)
    assert await free(limited) == 200
    await worker.settle([done(lease)])
    assert await free(limited) == 950
    (lease,) = await worker.claim(10)
    await use(worker, lease, 1_000)
    await worker.settle([done(lease)])
    assert await free(limited) == -50
    worker = await pass_tokens(limited, 1_000)
    (lease,) = await worker.claim(10)
    await worker.settle([done(lease)])
    assert await free(limited) == 150
    assert await worker.claim(10) == []
    assert (await limited.job(jobs[3])).held_by == "tpm"


@pytest.mark.parametrize("way", ["drain", "lost", "retry", "crash"])
async def test_an_estimate_counts_once_on_every_path(limited, way):
    """A requeue and a lost worker return what was not reported; a failed attempt has used its estimate."""
    await limited.submit(1, tokens=600)
    worker = await limited.worker()
    (lease,) = await worker.claim(10)
    assert await free(limited) == 400
    if way == "drain":
        await worker.settle([Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)])
    elif way == "crash":
        await worker.report_crash("it ended", explained=True)
    elif way == "lost":
        await limited.redis.zadd(f"{limited.prefix}workers", {"w1": 1})
        await (await limited.worker("w2")).maintain()
    else:
        failed = Failed(job_id=lease.job_id, token=lease.token, error="no", retry_after_ms=0)
        for _ in range(2):
            await worker.settle([failed])
    assert await free(limited) == (400 if way == "retry" else 1_000)
    worker = await limited.worker("w3")
    await worker.maintain()
    if way == "retry":
        worker = await pass_tokens(limited, 500)
    (again,) = await worker.claim(10)
    assert await free(limited) == (300 if way == "retry" else 400)
    await use(worker, again, 100)
    for _ in range(2):
        await worker.settle([done(again)])
    assert await free(limited) == (800 if way == "retry" else 900)
    assert await limited.holds_nothing()
    assert await limited.redis.hget(f"{limited.prefix}job:{again.job_id}", "debit") is None


async def test_a_large_job_is_not_overtaken_and_a_debt_is_bounded(limited):
    """Small jobs wait behind a job of more than the burst; a wrong report stops the rate for one burst at most."""
    small = await limited.submit(1, tokens=100)
    (large,) = await limited.submit(1, tokens=5_000)
    later = await limited.submit(1, tokens=1)
    worker = await limited.worker()
    (lease,) = await worker.claim(10)
    assert [lease.job_id] == small
    assert (await limited.job(later[0])).held_by == "tpm"
    await use(worker, lease, 10**9)
    assert await free(limited) == -1_000
    await worker.settle([done(lease)])
    assert await (await pass_tokens(limited, 1_000)).claim(10) == []
    worker = await pass_tokens(limited, 1_000)
    assert ids(await worker.claim(10)) == [large]
    assert await free(limited) == -1_000


async def test_a_job_without_tokens_takes_no_room_from_the_jobs_behind_it(limited):
    """A job of no tokens waits for a free one, and leaves it to the next job when they start together."""
    first = await limited.submit(1, tokens=1_000)
    worker = await limited.worker()
    assert ids(await worker.claim(10)) == first
    waiting = [(await limited.submit(1, tokens=tokens))[0] for tokens in (500, 0, 500)]
    assert await worker.claim(10) == []
    worker = await pass_tokens(limited, 1_000)
    assert ids(await worker.claim(10)) == waiting


async def test_each_tenant_has_tokens_and_one_may_have_more(limited, redis, pool):
    """A bound of tokens needs a limit of tokens; a pool without the limit lets its running jobs end."""
    await limited.limit(Limit(name="team", by=LimitBy.TENANT, rate=RATE))
    bound = Rate(count=5_000, period_ms=RATE.period_ms, burst=5_000, unit=RateUnit.TOKENS)
    with pytest.raises(UnknownLimitError, match="it has: team tenant tokens"):
        await override(redis, pool, "team", "acme", Rate(count=5_000, period_ms=RATE.period_ms))
    await override(redis, pool, "team", "acme", bound)
    assert await overrides(redis, pool) == [Override(limit="team", subject="acme", bound=bound)]
    acme = await limited.submit(4, tenant="acme", tokens=1_500)
    other = await limited.submit(2, tenant="other", tokens=1_000)
    worker = await limited.worker()
    leases = await worker.claim(10)
    assert sorted(ids(leases)) == sorted([*acme[:3], other[0]])
    await use(worker, leases[0], 10)
    await limited.limit()
    await use(worker, leases[0], 10, 2)
    await worker.settle([done(lease) for lease in leases])
    await worker.maintain()
    assert len(await worker.claim(10)) == 2
    assert await limited.holds_nothing()
    assert await audit(redis, pool) == []


async def test_a_debit_that_no_script_writes_harms_nobody(limited):
    """A foreign text in a record ends with its job."""
    (job,) = await limited.submit(1, tokens=600)
    worker = await limited.worker()
    (lease,) = await worker.claim(10)
    for text in ("", "x", "9 tpm=99999999999999999999 nothing=5 =3"):
        await limited.redis.hset(f"{limited.prefix}job:{job}", "debit", text)
        await use(worker, lease, 5, len(text) + 1)
    await worker.settle([done(lease)])
    assert (await limited.job(job)).state is JobState.SUCCEEDED
    assert await free(limited) <= RATE.burst
