"""Random lives of a queue on a real server, compared with the model after every step.

`AGENTPOOL_MODEL_RUNS` sets the number of lives (few by default; 2,000 and more before a release),
`AGENTPOOL_MODEL_STEPS` their length; `AGENTPOOL_MODEL_SHRINK=1` makes a failure smaller before it is shown.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import uuid
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agentpool_core.errors import SignalRefusedError, StaleLeaseError
from agentpool_core.jobs import (
    AfterCondition,
    JobId,
    JobRequest,
    JobState,
    LeaseToken,
    PoolRef,
    Priority,
    Step,
    StepOutcome,
    WorkerId,
)
from agentpool_core.queue import Consumer, Inspector, Limit, LimitBy, PoolSettings, Producer, Route, connect
from agentpool_core.queue.completions import (
    Cancelled,
    Failed,
    Returned,
    ReturnReason,
    SignalOutcome,
    Succeeded,
    Waiting,
)
from agentpool_core.queue.selector import JobSelector
from agentpool_core.queue.settings import subject_digest
from agentpool_core.queue.steps import stored_steps
from tests.fixtures.redis import RedisServer, leaked_keys
from tests.fixtures.rollback import go_back, remember
from tests.integration.queue.machine import settings_of
from tests.integration.queue.model import LEASE_MS, WAIT_MS, WAITING, Model, ModelJob

RUNS = int(os.environ.get("AGENTPOOL_MODEL_RUNS", "25"))
SMALL_JUMP_MS, LARGE_JUMP_MS = 20_000, 200_000
DELAY_MS, TTL_MS = 10_000, 100_000
VERBS = ("succeeded", "failed", "dead", "cancelled", "drain", "preempted", "exhausted", "waiting", "waiting")
WORKERS = ("w1", "w2", "w3")

picks = st.integers(0, 10_000)
jobs = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["ka", "kb"]),
        "priority": st.sampled_from(["critical", "task", "info"]),
        "delay": st.sampled_from([0, 0, 0, DELAY_MS]),
        "ttl": st.sampled_from([None, None, TTL_MS]),
        "max_attempts": st.integers(1, 3),
        "preemptible": st.booleans(),
        "after_condition": st.sampled_from(AfterCondition),
        "after": st.lists(picks, max_size=2),
        "key": st.sampled_from([None, None, "x", "y"]),
    }
)


class QueueLife(RuleBasedStateMachine):
    """One pool's life: each rule acts on the server and on the model, with the same outcome.

    Whether a rule may be chosen depends on the earlier rules alone, never on their outcomes: the server's milliseconds
    decide which job is first, and hypothesis reports an error if two equal beginnings lead to different choices.
    """

    server: RedisServer

    @initialize(max_of_key=st.sampled_from([None, 1, 2]))
    def begin(self, max_of_key):
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.server.url)
        self.pool = PoolRef("model", uuid.uuid4().hex[:16])
        self.prefix = f"ap:{{{self.pool}}}:"
        self.model = Model()
        self.model.max_of_key = max_of_key
        self.numbers = itertools.count(1)
        self.past: list[tuple[str, int]] = []  # every lease of this life: job, token
        self.restarts = 0
        self.moment = None  # the pool's keys and the model at the remembered moment
        self.producer = Producer(self.redis, self.pool)
        self.inspector = Inspector(self.redis)
        self.consumers = {name: Consumer(self.redis, self.pool, WorkerId(name)) for name in WORKERS}
        self.do(self.configure())
        for name in WORKERS:
            self.register(name)

    def do(self, work):
        return self.loop.run_until_complete(work)

    async def configure(self):
        await self.inspector.configure(
            self.pool,
            PoolSettings(
                routes=(Route(name="a", kinds=("ka",), max_running=self.model.limits["a"]),),
                limits=self.limits(),
                patience_critical_ms=0,
                patience_task_ms=2,
                patience_info_ms=5,
                ttl_info_ms=None,
                lease_ms=LEASE_MS,
                retry_initial_ms=4_000,
                retry_max_ms=8_000,
                paused=self.model.paused,
            ),
        )

    def limits(self):
        if self.model.max_of_key is None:
            return ()
        return (Limit(name="per-key", by=LimitBy.KEY, max_running=self.model.max_of_key),)

    def register(self, name):
        self.do(self.consumers[name].register(slots=3, host="h"))
        self.model.workers[name] = self.model.now + LEASE_MS

    def pick(self, items, number):
        return items[number % len(items)]

    def request(self, form):
        job = ModelJob(
            id=f"j{next(self.numbers)}",
            priority=form["priority"],
            route="a" if form["kind"] == "ka" else "default",
            max_attempts=form["max_attempts"],
            runs_anyway=form["after_condition"] is not AfterCondition.SUCCEEDED,
            for_failures=form["after_condition"] is AfterCondition.FAILED,
            key=form["key"],
        )
        known = list(self.model.jobs)
        after = list(dict.fromkeys(self.pick(known, number) for number in form["after"])) if known else []
        request = JobRequest(
            kind=form["kind"],
            job_id=JobId(job.id),
            priority=Priority(form["priority"]),
            delay_ms=form["delay"],
            ttl_ms=form["ttl"],
            max_attempts=form["max_attempts"],
            preemptible=form["preemptible"],
            limit_key=form["key"],
            after_condition=form["after_condition"],
            after=tuple(map(JobId, after)),
        )
        self.model.submit(job, after, form["delay"], form["ttl"])
        return request, job

    @rule(forms=st.lists(jobs, min_size=1, max_size=4))
    def submit(self, forms):
        made = [self.request(form) for form in forms]
        expected = [job.state for _, job in made]
        receipts = self.do(self.producer.submit_many([request for request, _ in made]))
        assert [receipt.state for receipt in receipts] == expected
        again = self.do(self.producer.submit(made[0][0]))
        assert again.duplicate
        assert again.job_id == made[0][1].id

    @rule(
        kind=st.sampled_from(["ka", "kb"]),
        priority=st.sampled_from(["critical", "task", "task", "info"]),
        max_attempts=st.integers(1, 3),
        taker=st.sampled_from((None, *WORKERS)),
    )
    def submit_plain(self, kind, priority, max_attempts, taker):
        """Submit a job without options, perhaps to a waiting worker: the case of the short scripts."""
        request = JobRequest(kind=kind, priority=Priority(priority), max_attempts=max_attempts)
        receipt = self.do(self.producer.submit(request))
        assert (receipt.state, receipt.duplicate) == ("queued", False)
        assert receipt.queue_depth == len(self.model.of_state(*WAITING)) + 1
        route = "a" if kind == "ka" else "default"
        job = ModelJob(id=receipt.job_id, priority=priority, route=route, max_attempts=max_attempts)
        self.model.submit(job, [], 0, None)
        if taker is not None:
            self.claim(taker, 2, waiting=True)

    @rule(name=st.sampled_from(WORKERS), limit=st.integers(1, 4), waiting=st.booleans())
    def claim(self, name, limit, waiting):
        # A claim ends expired jobs at the head of a stream; maintenance first makes server and model agree.
        self.maintain()
        expected = self.model.claim(name, limit)
        if waiting:  # as an idle worker does; the short script serves this claim
            _, leases = self.do(self.consumers[name].wait_and_claim(1, limit))
        else:
            leases = self.do(self.consumers[name].claim(limit))
        assert [lease.job_id for lease in leases] == [job.id for job in expected]
        for lease, job in zip(leases, expected, strict=True):
            assert (lease.token, lease.attempt) == (job.token, job.attempt)
            assert set(lease.parents) <= set(self.model.jobs)
            self.past.append((job.id, job.token))

    def completion(self, job_id, token, verb):
        ids = {"job_id": JobId(job_id), "token": LeaseToken(token)}
        match verb:
            case "succeeded":
                return Succeeded(**ids, result=job_id)
            case "cancelled":
                return Cancelled(**ids)
            case "waiting":
                number = self.model.jobs[job_id].waits + 1
                after_ms = WAIT_MS if number % 2 else None
                return Waiting(**ids, signals=(("other", 1), ("go", number)), after_ms=after_ms)
            case "drain" | "preempted" | "exhausted":
                return Returned(**ids, reason=ReturnReason(verb), checkpoint={"of": job_id})
            case _:
                return Failed(**ids, error="no", retry=verb == "failed")

    @rule(
        ends=st.lists(st.tuples(picks, st.sampled_from(VERBS)), min_size=1, max_size=4),
        live=st.booleans(),
        by=st.sampled_from(WORKERS),
    )
    def settle(self, ends, live, by):
        """Settle a worker's live leases, or any earlier lease of any worker."""
        if not self.past:
            return
        running = [(job.id, job.token) for job in self.model.of_state("running") if job.holder == by]
        leases = running if live and running else self.past
        self.end([(*self.pick(leases, number), verb) for number, verb in ends], by)

    @rule(
        forms=st.lists(jobs, min_size=1, max_size=2),
        verbs=st.lists(st.sampled_from(VERBS), min_size=1, max_size=3),
        by=st.sampled_from(WORKERS),
    )
    def work(self, forms, verbs, by):
        """Submit jobs, claim them and end them: most of a life, which single rules reach too rarely."""
        self.submit(forms)
        self.claim(by, 3, waiting=False)
        running = [(job.id, job.token) for job in self.model.of_state("running") if job.worker == by]
        self.end([(*lease, verb) for lease, verb in zip(running, verbs, strict=False)], by)

    def end(self, chosen, by):
        """End jobs of a worker in one call."""
        completions = [self.completion(*end) for end in chosen]
        expected = [self.model.settle(self.model.jobs[job], token, verb, by) for job, token, verb in chosen]
        self.model.conclude()
        outcomes = self.do(self.consumers[by].settle(completions))
        assert [outcome.value for outcome in outcomes] == expected

    @rule(number=picks)
    def signal(self, number):
        """Send a signal twice: the signal counts once, and an ended job does not change."""
        if not self.model.jobs:
            return
        job = self.pick(list(self.model.jobs.values()), number)
        expected = self.model.signal(job)
        send = partial(self.producer.signal, JobId(job.id), "go", number, signal_id=f"s{next(self.numbers)}")
        if expected == "ended":
            with pytest.raises(SignalRefusedError):
                self.do(send())
        else:
            assert self.do(send()) is SignalOutcome.STORED
            assert self.do(send()) is SignalOutcome.DUPLICATE

    @rule(
        number=picks, live=st.booleans(), by=st.sampled_from(WORKERS), step=st.integers(1, 3), times=st.integers(1, 2)
    )
    def record_step(self, number, live, by, step, times):
        """Write a step, new or again, under a live lease or an earlier one, perhaps twice after a lost answer."""
        lease = self.some_lease(number, live, by)
        if lease is None:
            return
        job = self.model.jobs[lease[0]]
        place = min(step, len(job.steps) + 1)
        record = Step(
            number=place, name=f"{place} of {number}", outcome=StepOutcome.SUCCEEDED, attempt=1, started_at_ms=1,
            duration_ms=1, result=number,
        )  # fmt: skip
        if self.report(lease, by, times, lambda held: self.consumers[by].record_steps(held, [record])):
            job.losses = 0 if job.alone and place not in job.steps else job.losses
            job.steps[place] = record.name

    @rule(number=picks, live=st.booleans(), by=st.sampled_from(WORKERS), count=st.integers(1, 3), again=st.booleans())
    def emit(self, number, live, by, count, again):
        """Emit chunks, sometimes with chunks that are stored already, because their answer was lost."""
        lease = self.some_lease(number, live, by)
        if lease is None:
            return
        job = self.model.jobs[lease[0]]
        stored = self.model.emitted(job)
        first = 1 if again else stored + 1
        chunks = ["1"] * (count + stored + 1 - first)
        if self.report(lease, by, 2, lambda held: self.consumers[by].emit(held, first, chunks)):
            job.chunks += [(job.token, each) for each in range(stored + 1, stored + 1 + count)]

    def some_lease(self, number, live, by):
        """Return a lease of this worker that runs, or any earlier lease; None: no lease yet."""
        running = [(job.id, job.token) for job in self.model.of_state("running") if job.worker == by]
        leases = running if live and running else self.past
        return self.pick(leases, number) if leases else None

    def report(self, lease, by, times, write):
        """Write some times; return whether the lease may write. A write of any other lease is refused."""
        held = SimpleNamespace(job_id=JobId(lease[0]), token=LeaseToken(lease[1]))
        if self.model.may_report(self.model.jobs[lease[0]], lease[1], by):
            for _ in range(times):
                self.do(write(held))
            return True
        with pytest.raises(StaleLeaseError):
            self.do(write(held))
        return False

    @rule(number=picks)
    def cancel(self, number):
        if not self.model.jobs:
            return
        job = self.pick(list(self.model.jobs.values()), number)
        assert self.do(self.producer.cancel(JobId(job.id))).value == self.model.cancel(job)

    @rule()
    def maintain(self):
        expected = self.model.maintain()
        done = self.do(self.consumers["w1"].maintain())
        assert (done.recovered, done.promoted, done.expired) == expected
        self.learn_entries()

    @rule(large=st.booleans(), renewing=st.sets(st.sampled_from(WORKERS)))
    def jump(self, large, renewing):
        """Move the clock; some workers' heartbeats come in time, or late but unnoticed."""
        by = LARGE_JUMP_MS if large else SMALL_JUMP_MS
        self.model.now += by
        self.do(self.redis.hincrby(f"{self.prefix}counters", "clock_offset_ms", by))
        for name in sorted(renewing):
            renewal = self.do(self.consumers[name].renew(slots=3, running=0))
            assert renewal.still_registered == (name in self.model.workers)
            if renewal.still_registered:
                self.model.workers[name] = self.model.now + LEASE_MS

    @rule(name=st.sampled_from(WORKERS))
    def restart_worker(self, name):
        """A worker leaves, or is gone already, and returns without jobs."""
        if name in self.model.workers:
            self.model.lose(name)
            self.model.conclude()
        self.do(self.consumers[name].deregister())
        self.register(name)

    @rule(name=st.sampled_from(WORKERS), number=picks, known=st.booleans())
    def crash_worker(self, name, number, known):
        """A worker's process ends with its jobs running and restarts at once; sometimes the causing job is known."""
        held = [job.id for job in self.model.of_state("running") if job.worker == name]
        culprit = self.pick(held, number) if known and held else None
        taken = self.model.lose(name, crashed=True, explained=True, culprit=culprit)
        self.model.conclude()
        culprits = [] if culprit is None else [JobId(culprit)]
        assert self.do(self.consumers[name].report_crash("killed by SIGSEGV", culprits)) == taken
        self.register(name)

    @rule(paused=st.booleans(), limit=st.sampled_from([1, 2, 3]))
    def reconfigure(self, paused, limit):
        self.model.paused = paused
        self.model.limits["a"] = limit
        self.do(self.configure())

    @rule(number=picks)
    def replay(self, number):
        if not self.model.of_state("failed"):
            return
        job = self.pick(self.model.of_state("failed"), number)
        self.model.replay(job)
        self.do(self.inspector.replay(self.pool, JobId(job.id)))

    @precondition(lambda self: self.restarts < 1)
    @rule(crash=st.booleans())
    def restart_server(self, crash):
        """The server stops or crashes, and restarts with every acknowledged write."""
        self.restarts += 1
        if crash:
            self.server.kill()
            self.server.start()
        else:
            self.server.restart()
        self.do(self.redis.connection_pool.disconnect())
        self.maintain()  # Redis 7.0 has forgotten the groups' lag; maintenance sets the lag again

    @rule()
    def remember(self):
        """Remember a moment that Redis may return to."""
        self.moment = self.do(remember(self.server.url, self.pool)), copy.deepcopy(self.model)

    @precondition(lambda self: self.moment is not None)
    @rule()
    def go_back(self):
        """The queue loses every later change, and its workers do not: they compare, and agree again."""
        keys, model = self.moment
        self.do(go_back(self.server.url, keys))
        self.model = copy.deepcopy(model)
        self.past = [lease for lease in self.past if lease[0] in self.model.jobs]
        for name, consumer in self.consumers.items():
            self.model.agree(name, {job: hold.token for job, hold in consumer.holdings().items()})
            consumer.compare_holdings()
            self.do(consumer.claim(0))
            assert {(job, hold.token) for job, hold in consumer.holdings().items()} == {
                (job.id, job.token) for job in self.model.of_state("running") if job.worker == name
            }

    def learn_entries(self):
        """The server chooses entry ids; the model copies them, and they never change while a job waits."""
        waiting = self.model.of_state("queued")
        for job, entry in zip(waiting, self.fields(waiting, "entry"), strict=True):
            ms, seq = map(int, entry.split("-"))
            job.entry = (ms, seq)

    def fields(self, of, name):
        async def read():
            async with self.redis.pipeline(transaction=False) as pipeline:
                for job in of:
                    pipeline.hget(f"{self.prefix}job:{job.id}", name)
                return await pipeline.execute()

        return self.do(read()) if of else []

    @invariant()
    def worlds_agree(self):
        if not hasattr(self, "model"):
            return
        everything = list(self.model.jobs.values())
        assert self.fields(everything, "state") == [job.state for job in everything]
        leases = self.fields(everything, "lease")
        for job, lease in zip(everything, leases, strict=True):
            token, attempt = (lease or "0 0").split(" ")[:2]
            assert (int(token), int(attempt)) == (job.token, job.attempt), job
        self.do(self.counters_agree())
        self.do(self.steps_and_output_agree())

    async def steps_and_output_agree(self):
        for job in self.model.jobs.values():
            if job.steps:
                stored = await stored_steps(self.redis, f"{self.prefix}job:{job.id}", with_results=False)
                assert {step.number: step.name for step in stored} == job.steps, job
            if job.chunks:
                rows = await self.redis.xrange(f"{self.prefix}chunks:{job.id}")
                stored = [fields["at"].split(" ") for _, fields in rows if "at" in fields]
                assert [(int(token), int(number)) for token, _, number in stored] == job.chunks, job

    async def counters_agree(self):
        model = self.model
        counters = await self.redis.hgetall(f"{self.prefix}counters")
        number = lambda name: int(counters.get(name, 0))  # noqa: E731  # short, and used right below
        assert number("submitted") == model.submitted
        assert number("started") == model.started
        for state, count in model.ended.items():
            assert number(state) == count
        assert number("queued") + number("held") == len(model.of_state("queued"))
        await self.keys_agree()
        assert number("suspects") == sum(job.suspect for job in model.jobs.values())
        assert await self.redis.zcard(f"{self.prefix}suspects") == number("suspects")
        assert number("running") == len(model.of_state("running"))
        assert await self.redis.zcard(f"{self.prefix}due") == len(model.of_state("scheduled"))
        assert await self.redis.zcard(f"{self.prefix}waiting") == len(model.of_state("waiting"))
        assert await self.redis.scard(f"{self.prefix}blocked") == len(model.of_state("blocked"))
        for state in map(JobState, model.ended):
            listed = await Inspector(self.redis).select(self.pool, JobSelector(states=(state,))).count()
            assert listed == len(model.of_state(state.value)), state
        for route, limit in model.limits.items():
            running = sum(job.route == route for job in model.of_state("running"))
            assert number(f"r:{route}") == running
            assert limit is None or running <= max(limit, 3)
            for priority in ("critical", "task", "info"):
                await self.stream_agrees(f":{route}:{priority}", counters)
        assert await leaked_keys(self.redis, self.pool) == []

    async def keys_agree(self):
        """A key counts exactly its running jobs, and every held job waits for a full key."""
        if self.model.max_of_key is None:
            return
        running = self.model.of_state("running")
        for key in ("x", "y"):
            bucket = f"per-key:{subject_digest(key)}"
            counted = await self.redis.smembers(f"{self.prefix}using:{bucket}")
            assert counted == {job.id for job in running if job.key == key}
            waiting = await self.redis.zrangebyscore(f"{self.prefix}held:{bucket}", 0, "+inf")
            assert set(waiting) <= {job.id for job in self.model.of_state("queued") if job.key == key}
            opened = await self.redis.zcount(f"{self.prefix}held:{bucket}", "-inf", "(0")
            assert not waiting or len(counted) + opened >= self.model.max_of_key, "a limit with room holds no job"

    async def stream_agrees(self, place, counters):
        number = lambda sort: int(counters.get(f"{sort}{place}", 0))  # noqa: E731  # as above
        here = [job for job in self.model.jobs.values() if job.place() == place]
        queued = sum(job.state == "queued" for job in here)
        assert number("q") + number("y") + number("u") + number("h") == queued
        assert number("u") == sum(job.suspect for job in here)
        if f"c{place}" not in counters:
            return
        stream = f"{self.prefix}s{place}"
        (group,) = await self.redis.xinfo_groups(stream)
        held = sum(job.state in {"running", "waiting"} or (job.state == "scheduled" and job.parked) for job in here)
        assert group["pending"] == held + number("y") + number("u") + number("h")
        lag = group.get("lag", number("q") + number("t"))  # Redis 6.2 does not report the lag
        assert lag == number("q") + number("t")
        kept_last = f"d{place}" in counters  # acknowledged, but an older entry remains: see lib/pool.lua
        assert await self.redis.xlen(stream) == group["pending"] + lag + kept_last
        assert group["pending"] or not kept_last
        head = await self.redis.xrange(stream, min=f"({counters[f'c{place}']}", count=1)
        if head:
            state, entry = await self.redis.hmget(f"{self.prefix}job:{head[0][1]['job']}", "state", "entry")
            assert (state, entry) == ("queued", head[0][0]), "a tombstone is never left at the head"

    def teardown(self):
        if not hasattr(self, "model"):
            return
        try:
            self.run_everything_out()
        finally:
            self.do(self.inspector.purge(self.pool))
            self.do(self.redis.aclose())
            self.loop.close()

    def run_everything_out(self):
        """No acknowledged job is lost and none starves: with one good worker and no disturbance, every job ends."""
        self.model.paused, self.model.limits["a"] = False, 1
        self.do(self.configure())
        for _ in range(10 * len(self.model.jobs) + 10):
            if not self.model.of_state(*WAITING, "running", "waiting"):
                break
            for job in self.model.of_state("waiting"):
                self.model.signal(job)
                self.do(self.producer.signal(JobId(job.id), "go"))
            self.jump(large=False, renewing=set())
            for name in WORKERS:
                self.restart_worker(name)
            self.maintain()
            self.claim("w1", 4, waiting=False)
            done = [(job.id, job.token) for job in self.model.of_state("running")]
            for job_id, token in done:
                self.model.settle(self.model.jobs[job_id], token, "succeeded", "w1")
            self.model.conclude()
            self.do(self.consumers["w1"].settle([self.completion(*lease, "succeeded") for lease in done]))
        assert not self.model.of_state(*WAITING, "running", "waiting")
        self.worlds_agree()


@pytest.mark.timeout(3600)
def test_a_queue_lives_as_the_model_says():
    """Server and model agree after every step, for any events in any order."""
    server = RedisServer("--appendonly", "yes", "--appendfsync", "always").start()
    try:
        QueueLife.server = server
        run_state_machine_as_test(QueueLife, settings=settings_of(RUNS))
    finally:
        server.close()
