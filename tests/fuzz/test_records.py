"""Stored records with a hostile change: the changed job fails alone, with a reason, and every further job succeeds.

The test changes a field of a job's record, or the whole key, at a random stage; then workers go on as usual.
`AGENTPOOL_FUZZ_CASES` sets the number of cases (a slice by default; 10,000 before a release); the test prints the
count.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentpool_core.documents import history_document, job_document
from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobId, JobRequest, JobState, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, Limit, LimitBy, PoolSettings, Producer, connect
from agentpool_core.queue.codec.requests import LONGEST_WAIT_MS
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded, Waiting
from agentpool_core.queue.keys import Keys

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
PER_KEY = Limit(name="per-key", by=LimitBy.KEY, max_running=1)
SETTINGS = PoolSettings(
    retry_initial_ms=1_000, retry_max_ms=1_000, lease_ms=5_000, timeout_ms=60_000, limits=(PER_KEY,)
)
MANY = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
STEP_MS = 10_000  # more than a lease, a delay or a backoff here
ROUNDS = 40  # of claims and upkeep; a healthy queue of this size needs fewer than 10

FIELDS = (
    *("state", "spec", "payload", "entry", "lease", "log", "mark", "waits", "after", "due", "expires", "ended"),
    *("checkpoint", "progress", "result", "error", "reason", "trace", "digest", "putoff", "losses", "cancel", "watch"),
    *("wait", "sig:go=1", "held", "opened", "holds", "limit_key", "tenant", "tags", "steps", "step:1", "out:1"),
)
STAGES = (
    "queued",
    "running",
    "lost",
    "held",
    "waiting",
    "scheduled",
    "retrying",
    "returned",
    "blocked",
    "parent",
    "dead",
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.binary(max_size=12),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        [
            *("", " ", "0", "-1", "1.5", "nan", "inf", "1e400", "9" * 400, "null", "{", "[" * 5_000, "\x1b[31m", "\\"),
            *("a|b|c|d|e|f", "k|default|task|||", "k|other|task|||", "k|default|none|||", "k|default|task|9|9|atxpu"),
            *("0-0", "1-1", "9999999999999-0", "1 1 1 w", "x y z w", "99 99 99 other", "1 1 1 steady"),
            *(":", ":x", "per-key", "per-key:x", "no-such", "succeeded 1 1 1 next s\n"),
            *("queued", "running", "scheduled", "blocked", "succeeded", "dead"),
        ]
    ),
)


@st.composite
def bends(draw) -> tuple[str, object]:
    """A change of the record: a field and the new text (None: removed), or a key of a different type."""
    if draw(st.integers(0, 9)) == 0:
        return "", draw(st.sampled_from(["string", "list", "set", "zset", "stream"]))
    return draw(st.sampled_from(FIELDS)), draw(TEXTS | st.none())


class Stage:
    """A pool with innocent jobs and a victim, at a stage of the victim's life."""

    def __init__(self, client, pool: PoolRef) -> None:
        self.client = client
        self.pool = pool
        self.keys = Keys(pool)
        self.producer = Producer(client, pool)
        self.inspector = Inspector(client)
        self.worker = Consumer(client, pool, WorkerId("steady"))
        self.innocent: list[JobId] = []
        self.held: list[Succeeded] = []  # results that the victim's worker has not reported yet

    async def submit(self, **fields) -> JobId:
        """Submit a job."""
        return (await self.producer.submit(JobRequest(kind="k", payload={"n": 1}, **fields))).job_id

    async def prepare(self, stage: str) -> JobId:
        """Return the victim at the stage, with innocent jobs before and after."""
        await self.inspector.configure(self.pool, SETTINGS)
        await self.worker.register(slots=50, host="h")
        self.innocent.append(await self.submit(trace={"traceparent": "t"}, ttl_ms=10**9))
        victim = await self._victim(stage)
        self.innocent += [await self.submit(), await self.submit(delay_ms=500)]
        return victim

    async def _victim(self, stage: str) -> JobId:
        if stage == "scheduled":
            return await self.submit(delay_ms=1_000)
        if stage == "held":
            return await self._held_by_a_limit()
        if stage in {"blocked", "parent"}:
            parent = await self.submit(job_id=JobId("parent"))
            child = await self.submit(after=(parent,), job_id=JobId("child"))
            self.innocent += [parent] if stage == "blocked" else []
            return child if stage == "blocked" else parent
        victim = await self.submit(ttl_ms=10**9, trace={"traceparent": "t"}, preemptible=True)
        if stage != "queued":
            await self._run(victim, stage)
        return victim

    async def _held_by_a_limit(self) -> JobId:
        self.innocent.append(await self.submit(limit_key="v"))
        victim = await self.submit(limit_key="v", tags=("t",), tenant="v")
        leases = await self.worker.claim(50)
        self.held = [Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases]
        return victim

    async def _run(self, victim: JobId, stage: str) -> None:
        worker = self.worker
        if stage == "lost":
            worker = Consumer(self.client, self.pool, WorkerId("lost"))
            await worker.register(slots=50, host="h")
        for lease in await worker.claim(50):
            done = Succeeded(job_id=lease.job_id, token=lease.token)
            if lease.job_id == victim:
                await worker.checkpoint(lease, {"step": 1})
                done = {
                    "retrying": Failed(job_id=victim, token=lease.token, error="e"),
                    "waiting": Waiting(job_id=victim, token=lease.token, signals=(("go", 1),), after_ms=30_000),
                    "returned": Returned(job_id=victim, token=lease.token, reason=ReturnReason.DRAIN),
                    "dead": Failed(job_id=victim, token=lease.token, error="e", retry=False),
                }.get(stage)
            if done is not None and (stage != "running" or lease.job_id != victim):
                await worker.settle([done])
            elif stage == "running":
                self.held = [Succeeded(job_id=lease.job_id, token=lease.token)]

    async def bend(self, victim: JobId, field: str, value: object) -> None:
        """Change the victim's record, bypassing the queue."""
        key = self.keys.job(victim)
        if field:
            command = ("HDEL", key, field) if value is None else ("HSET", key, field, value)
            await self.client.execute_command(*command)
            return
        await self.client.delete(key)
        make = {"string": ("SET", key, "x"), "list": ("RPUSH", key, "x"), "set": ("SADD", key, "x"),
                "zset": ("ZADD", key, 1, "x"), "stream": ("XADD", key, "*", "a", "b")}[str(value)]  # fmt: skip
        await self.client.execute_command(*make)

    async def go_on(self, victim: JobId | None = None) -> None:
        """Serve jobs until every innocent job has succeeded, and for a limited time until the victim has ended."""
        for round_ in range(ROUNDS):
            await self._work()
            await self.worker.maintain()
            if round_ % 2:
                await self.client.hincrby(self.keys.counters, "clock_offset_ms", STEP_MS)
                await self.client.hdel(self.keys.counters, "recount_at")
                renewal = await self.worker.renew(slots=50, running=0)
                if not renewal.still_registered:
                    await self.worker.register(slots=50, host="h")
            jobs = [await self.inspector.job(self.pool, job_id) for job_id in self.innocent]
            done = all(job.state is JobState.SUCCEEDED for job in jobs)
            if done and round_ > 8 and await self._has_ended(victim):
                return
        assert done, [(job.job_id, job.state, job.error) for job in jobs]

    async def _has_ended(self, victim: JobId | None) -> bool:
        state = None if victim is None else await self.read(victim)
        if state is JobState.SCHEDULED:  # perhaps for a later day, as a submit may ask for
            job = await self.inspector.job(self.pool, victim)
            now_ms = (await self.inspector.snapshot(self.pool)).taken_at_ms
            wait_ms = min(LONGEST_WAIT_MS, max(0, (job.due_at_ms or 0) - now_ms))
            await self.client.hincrby(self.keys.counters, "clock_offset_ms", wait_ms)
        return state is None or state.terminal

    async def _work(self) -> None:
        await self.worker.settle(self.held)
        self.held = []
        for lease in await self.worker.claim(20):
            if lease.fault is None:
                done = Succeeded(job_id=lease.job_id, token=lease.token, result=1)
            else:
                done = Failed(job_id=lease.job_id, token=lease.token, error=lease.fault, retry=False)
            await self.worker.settle([done])

    async def read(self, victim: JobId) -> JobState | None:
        """Read the queue and the victim by every call; return the victim's state, or None without a record."""
        for state in ("queued", "scheduled", "blocked", "waiting", "running", "failed"):
            json.dumps([job_document(job, self.pool) for job in await self.inspector.jobs(self.pool, JobState(state))])
        await self.inspector.snapshot(self.pool)
        await self.inspector.events(self.pool)
        try:
            job = await self.inspector.job(self.pool, victim)
        except QueueError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return None
        json.dumps([job_document(job, self.pool), history_document(job)])
        return job.state

    async def clear(self, victim: JobId) -> None:
        """Replay a dead letter, then purge the job."""
        await self.inspector.replay(self.pool, victim)
        await self.go_on()
        await self.inspector.discard(self.pool, [victim])


async def run_case(client, pool: PoolRef, stage: str, field: str, value: object) -> str:
    """Run a case; return the victim's final state."""
    ground = Stage(client, pool)
    try:
        victim = await ground.prepare(stage)
        await ground.bend(victim, field, value)
        await ground.read(victim)
        await ground.go_on(victim)
        state = await ground.read(victim)
        if state is JobState.FAILED:
            await ground.clear(victim)
        assert state is None or state.terminal, f"the victim is {state} for ever"
        return str(state)
    finally:
        await ground.inspector.purge(pool)


@pytest.fixture
def loop_and_client(redis_url):
    loop = asyncio.new_event_loop()
    client = connect(redis_url)
    yield loop, client
    loop.run_until_complete(client.aclose())
    loop.close()


@pytest.mark.timeout(3600)
def test_a_bent_record_fails_only_its_job(loop_and_client):
    """For any record, the further jobs succeed, every reading works, and no job waits for ever."""
    loop, client = loop_and_client
    numbers = count()
    ends: Counter[str] = Counter()

    @MANY
    @given(stage=st.sampled_from(STAGES), bend=bends())
    @example(stage="queued", bend=("state", "running"))  # the entry counted as the entry of an ended job
    @example(stage="lost", bend=("entry", "0-0"))  # the entry was dropped as foreign
    @example(stage="blocked", bend=("due", "9" * 15))  # the job became due in 30,000 years
    @example(stage="held", bend=("held", ":x"))  # a bucket without a limit's name stopped the claims of the pool
    @example(stage="queued", bend=("opened", ""))  # likewise
    @example(stage="parent", bend=("state", "succeeded"))  # without a result, the record stopped the pool's maintenance
    def cases(stage, bend):
        pool = PoolRef("fuzz", f"records-{next(numbers)}")
        try:
            ends[loop.run_until_complete(run_case(client, pool, stage, *bend))] += 1
        except Exception as error:
            error.add_note(f"stage {stage}, field and value {bend!r}")
            raise

    cases()
    print(f"victims: {dict(ends)}")  # noqa: T201 - a fuzz run reports the count


NOT_NUMBERS = st.text(max_size=10).filter(lambda text: not text.strip().lstrip("+-").isdigit())


NUMBERS = st.sampled_from([1, 0, -1, 1.5, 1e300, True, None, "2", [], {}, 2**60])
LIMITS = st.lists(
    st.one_of(
        st.sampled_from([None, 1, "x", [], {}]),
        st.fixed_dictionaries(
            {"name": st.sampled_from(["l", "", ":", "a:b", "a b", 5, None, {}])},
            optional={
                "by": st.sampled_from(["key", "tenant", "moon", 5, None]),
                "kinds": st.sampled_from(["k", ["k"], [1, None], [], None, 5]),
                "routes": st.sampled_from(["default", ["default"], [[]], None]),
                **dict.fromkeys(("max_running", "count", "period_ms", "burst"), NUMBERS),
                "spend": st.just(5),  # of a version to come
            },
        ),
    ),
    max_size=3,
).map(json.dumps)


@st.composite
def shared_bends(draw) -> tuple[str, str, str]:
    """A field that all jobs share: a setting, or a counter or cursor of the counters."""
    if draw(st.booleans()):
        if draw(st.booleans()):
            return "conf", "limits", draw(LIMITS)
        names = [name for name in SETTINGS.to_mapping() if name not in {"paused", "retired", "revision"}]
        return "conf", draw(st.sampled_from([*names, "limit:default"])), draw(NOT_NUMBERS)
    counters = (
        "queued",
        "running",
        "submitted",
        "started",
        "finished",
        "slots",
        "run_ms",
        "attempts",
        "suspects",
        "held",
        "w:l",
    )
    places = (
        "q:default:task",
        "y:default:task",
        "h:default:task",
        "t:default:task",
        "r:default",
        "c:default:task",
        "d:default:task",
    )
    return "counters", draw(st.sampled_from([*counters, *places, "pressure_at", "cordoned"])), draw(NOT_NUMBERS)


@pytest.mark.timeout(3600)
def test_a_bent_setting_or_counter_stops_no_job(loop_and_client):
    """The default replaces a setting that is no number, and counters are corrected: every job succeeds."""
    loop, client = loop_and_client
    numbers = count()

    async def shared(pool: PoolRef, key: str, field: str, text: str) -> None:
        ground = Stage(client, pool)
        try:
            ground.innocent.append(await ground.prepare("queued"))
            await client.hset(getattr(ground.keys, key), field, text.encode("utf-8", "replace"))
            await ground.go_on()
            ground.innocent.append(await ground.submit())
            await ground.go_on()
            await ground.inspector.snapshot(pool)
        finally:
            await ground.inspector.purge(pool)

    @MANY
    @given(bend=shared_bends())
    @example(bend=("conf", "retention_results_ms", "1E100"))  # no job could end
    @example(bend=("conf", "retention_results_ms", "0E0"))  # records were gone at once
    @example(bend=("conf", "retention_results_ms", "9" * 30))
    @example(bend=("conf", "limit:default", "9" * 30))
    @example(bend=("conf", "timeout_ms", "9" * 30))
    @example(bend=("conf", "ttl_task_ms", "0."))  # Lua reads 0, Python no number: jobs expired at once
    @example(bend=("conf", "limits", '[{"name": "l", "spend": 5}]'))  # a newer version's limit failed every claim
    @example(bend=("conf", "limits", "[null]"))  # likewise
    @example(bend=("counters", "submitted", "INFINITY"))  # the same: no reading succeeded any more
    def cases(bend):
        pool = PoolRef("fuzz", f"shared-{next(numbers)}")
        try:
            loop.run_until_complete(shared(pool, *bend))
        except Exception as error:
            error.add_note(f"key, field and text {bend!r}")
            raise

    cases()
