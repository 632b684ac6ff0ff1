"""Random programs of steps, waits, output and paid calls on a real queue, with crashes around any of their operations.

The undisturbed run is the oracle: whatever crashes, the job ends with the same result, a committed step never runs
again, each signal reaches one wait, the output of each run has no hole, no double, and every acknowledged chunk, and
the budget has spent exactly the money of the calls that the queue has accepted.
`AGENTPOOL_PROGRAM_RUNS` sets the number of programs.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import Counter, defaultdict

from hypothesis import example, given
from hypothesis import strategies as st

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobId, JobRequest, JobState, PoolRef, WorkerId
from agentpool_core.queue import Budget, Consumer, Inspector, Limit, PoolSettings, Producer, connect
from agentpool_core.queue.completions import SignalOutcome
from agentpool_core.queue.usage import BILLION
from agentpool_worker.handlers.shapes import handler_of
from agentpool_worker.jobs.execution import Execution, Stop
from agentpool_worker.jobs.queue_calls import QueueCalls
from agentpool_worker.threads import HandlerThreads
from tests.integration.queue.machine import sequences

RUNS = int(os.environ.get("AGENTPOOL_PROGRAM_RUNS", "25"))
HOUR_MS = 3_600_000
BUDGET = Limit(name="hourly", budget=Budget(amount=5, window_ms=HOUR_MS))
MOST_ATTEMPTS = 200  # more than any program needs: a life that takes longer does not end

operations = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 3)),  # chunks that the step emits
    st.tuples(st.just("wait"), st.booleans()),  # whether its signal comes before the job starts
    st.tuples(st.just("pay"), st.integers(1, 3)),  # the highest cost of the call
    st.tuples(st.sampled_from(["sleep", "any"]), st.just(0)),  # `any` waits for a signal that all branches share
)
programs = st.lists(
    operations | st.tuples(st.just("gather"), st.lists(st.lists(operations, max_size=3), min_size=2, max_size=3)),
    min_size=1,
    max_size=5,
)
BRANCHES = [[("step", 0), ("sleep", 0)], [("sleep", 0)]]  # which reach their sleeps in a different order when replayed
crashes = st.frozensets(st.tuples(st.integers(0, 25), st.sampled_from(["before", "after"])), max_size=6)


class Life:
    """A job of one program, from its submit to its end."""

    def __init__(self, url, program, points):
        self.redis = connect(url)
        self.pool = PoolRef("programs", uuid.uuid4().hex[:16])
        self.program, self.points = program, points
        self.producer = Producer(self.redis, self.pool)
        self.inspector = Inspector(self.redis)
        self.consumer = Consumer(self.redis, self.pool, WorkerId("w"))
        self.operations = 0  # of all runs
        self.dead = False  # the present run's worker
        self.committed = set()  # steps whose record the queue has
        self.acknowledged = Counter()  # chunks of each run
        self.sent = Counter()  # signals of each name
        self.spent = self.paid = 0  # billionths: in this window, and by all reports of the job
        self.job_id = JobId("job")

    async def run(self):
        """Run the job to its end; return its record and the chunks of its output."""
        try:
            await self.inspector.configure(self.pool, PoolSettings(lease_ms=HOUR_MS * 100, limits=(BUDGET,)))
            await self.consumer.register(slots=1, host="h")
            now_ms = (await self.inspector.snapshot(self.pool)).taken_at_ms
            await self.pass_time(HOUR_MS - now_ms % HOUR_MS + 1_000)
            await self.producer.submit(JobRequest(kind="any", job_id=self.job_id, max_attempts=MOST_ATTEMPTS))
            for name in early_signals(self.program):
                await self.signal(name)
            for _ in range(MOST_ATTEMPTS):
                job = await self.inspector.job(self.pool, self.job_id)
                if job.state.terminal:
                    return job, [chunk async for chunk in self.inspector.chunks(self.pool, self.job_id)]
                await self.go_on(job)
            raise AssertionError(f"the job has not ended: {job}")
        finally:
            await self.inspector.purge(self.pool)
            await self.redis.aclose()

    async def go_on(self, job):
        """Run an attempt; let time pass, or send a signal, where the job waits."""
        if job.state is JobState.WAITING:
            counters = await self.inspector.snapshot(self.pool)
            assert (counters.running, counters.waiting) == (0, 1), "a waiting job has no slot"
            for name in job.waits_for:
                await self.signal(name)
            await self.pass_time(HOUR_MS)
            await self.consumer.maintain()
        leases = await self.consumer.claim(1)
        for lease in leases:
            await self.attempt(lease)
        if not leases:
            await self.pass_time(HOUR_MS)
            await self.consumer.maintain()
        (limit,) = (await self.inspector.snapshot(self.pool)).limits
        assert limit.budget.spent * BILLION == self.spent <= BUDGET.budget.amount * BILLION

    async def pass_time(self, ms):
        """Let the pool's clock jump into the next window of the budget."""
        await self.redis.hincrby(f"ap:{{{self.pool}}}:counters", "clock_offset_ms", ms)
        self.spent = 0

    async def signal(self, name):
        """Send the next signal of this name, twice."""
        self.sent[name] += 1
        number = self.sent[name]
        for outcome in (SignalOutcome.STORED, SignalOutcome.DUPLICATE):
            sent = await self.producer.signal(self.job_id, name, f"{name} {number}", signal_id=f"{name}-{number}")
            assert sent is outcome

    async def attempt(self, lease):
        """Run the handler once; a crash is the end of the worker, with nothing reported."""
        self.dead = False
        execution = Execution(lease, Crashing(self), time.monotonic())
        execution.ctx.suspend = lambda _ctx: execution.begin_stop(Stop.WAITING, time.monotonic(), 0.0)
        ended = []
        handler = handler_of(self.handle, HandlerThreads()).run
        execution.task = asyncio.ensure_future(execution.run(handler, lambda _, completion: ended.append(completion)))
        await execution.task
        try:
            await self.operate(lambda: self.consumer.settle(ended))
        except StaleLeaseError:
            await self.consumer.deregister()
            await self.consumer.register(slots=1, host="h")

    async def operate(self, work):
        """Do an operation of the worker on the queue, unless the worker dies before; perhaps it dies afterwards."""
        point = self.operations
        self.operations += 1
        self.die_at(point, "before")
        done = await work()
        self.die_at(point, "after")
        return done

    def die_at(self, point, when):
        self.dead = self.dead or (point, when) in self.points
        if self.dead:
            raise StaleLeaseError(self.job_id, 0)

    async def handle(self, _payload, ctx):
        return await self.follow(self.program, ctx, "")

    async def follow(self, program, ctx, path):
        results = []
        for place, (verb, detail) in enumerate(program):
            name = f"{path}{place}"
            match verb:
                case "step":
                    results.append(await ctx.step(f"step-{name}", self.step, f"step-{name}", detail, ctx))
                case "pay":
                    results.append(await ctx.step(f"step-{name}", self.pay, f"step-{name}", detail, ctx))
                case "sleep":
                    results.append(await ctx.sleep(HOUR_MS / 2_000))
                case "wait":
                    results.append(await ctx.wait_for(f"go{path}"))
                case "any":
                    results.append(await ctx.wait_for("any"))
                case "gather":
                    async with asyncio.TaskGroup() as group:
                        branches = [
                            group.create_task(self.follow(branch, ctx, f"{name}.{number}."))
                            for number, branch in enumerate(detail)
                        ]
                    results.append([branch.result() for branch in branches])
        return results

    async def step(self, name, chunks, ctx):
        assert name not in self.committed, f"{name} runs again"
        run = ctx.steps.journal.lease.token
        for number in range(chunks):
            await ctx.emit([name, number])
            self.acknowledged[run] += 1
        return name

    async def pay(self, name, most, ctx):
        assert name not in self.committed, f"{name} runs again"
        await ctx.charge(most)
        await ctx.usage(cost=most - 0.5)
        return name


class Crashing(QueueCalls):
    """The calls of a worker that may die before or after each of them."""

    def __init__(self, life):
        super().__init__(life.consumer, life.producer)
        self._life = life

    async def steps(self, lease):
        return await self._life.operate(lambda: super(Crashing, self).steps(lease))

    async def signal_value(self, lease, name, number):
        return await self._life.operate(lambda: super(Crashing, self).signal_value(lease, name, number))

    async def emit(self, lease, first, chunks):
        return await self._life.operate(lambda: super(Crashing, self).emit(lease, first, chunks))

    async def charge(self, lease, number, cost):
        async def reserve():
            await super(Crashing, self).charge(lease, number, cost)
            self._life.spent += cost

        await self._life.operate(reserve)

    async def use(self, lease, first, reports, *, reserved=0):
        async def report():
            await super(Crashing, self).use(lease, first, reports, reserved=reserved)
            cost = sum(each.cost_billionths for each in reports)
            self._life.paid += cost
            self._life.spent += cost - reserved

        await self._life.operate(report)

    async def record_steps(self, lease, steps):
        async def record():
            await super(Crashing, self).record_steps(lease, steps)
            self._life.committed |= {step.name for step in steps if step.outcome == "succeeded"}

        return await self._life.operate(record)


def early_signals(program, path=""):
    """Return the names of the signals that come before the job starts."""
    for place, (verb, detail) in enumerate(program):
        if verb == "wait" and detail:
            yield f"go{path}"
        if verb == "gather":
            for number, branch in enumerate(detail):
                yield from early_signals(branch, f"{path}{place}.{number}.")


def expected(program, path=""):
    """Return the result of the undisturbed run."""
    results, waits = [], 0
    for place, (verb, detail) in enumerate(program):
        name = f"{path}{place}"
        match verb:
            case "step" | "pay":
                results.append(f"step-{name}")
            case "sleep":
                results.append(None)
            case "wait":
                waits += 1
                results.append(f"go{path} {waits}")
            case "any":
                results.append("any")
            case "gather":
                results.append([expected(branch, f"{name}.{number}.") for number, branch in enumerate(detail)])
    return results


def without_numbers(result, taken):
    """Return the result with `any` for the signals that all branches share; add those to `taken`."""
    if isinstance(result, list):
        return [without_numbers(each, taken) for each in result]
    if isinstance(result, str) and result.startswith("any "):
        taken.append(result)
        return "any"
    return result


def emitted(program, path=""):
    """Return the chunks of each step in the undisturbed run."""
    found = {}
    for place, (verb, detail) in enumerate(program):
        if verb == "step" and detail:
            found[f"step-{path}{place}"] = list(range(detail))
        if verb == "gather":
            for number, branch in enumerate(detail):
                found |= emitted(branch, f"{path}{place}.{number}.")
    return found


def check_output(program, chunks, acknowledged):
    """Each run's chunks are numbered from 1 without a hole; the latest run of each step has the whole step."""
    runs, steps = defaultdict(list), defaultdict(dict)
    for chunk in chunks:
        runs[chunk.run].append(chunk.number)
        step, number = chunk.value
        steps[step].setdefault(chunk.run, []).append(number)
    for run, numbers in runs.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"run {run}"
    for run, count in acknowledged.items():
        assert len(runs[run]) >= count, f"run {run}: an acknowledged chunk is missing"
    assert [chunk.run for chunk in chunks] == sorted(chunk.run for chunk in chunks)
    assert {step: by_run[max(by_run)] for step, by_run in steps.items()} == emitted(program)


@sequences(RUNS)
@example(program=[("step", 0), ("gather", BRANCHES)], points=frozenset())
@example(program=[("gather", [[("any", 0)], [("any", 0)]])], points=frozenset({(4, "after")}))
@example(program=[("pay", 3), ("gather", [[("pay", 2)], [("pay", 2), ("step", 1)]])], points=frozenset({(1, "after")}))
@given(program=programs, points=crashes)
def test_crashes_change_nothing(redis_url, program, points):
    """A program with crashes between its operations ends as the undisturbed program."""
    life = Life(redis_url, program, points)
    job, chunks = asyncio.run(life.run())
    assert job.state is JobState.SUCCEEDED, job.error
    taken = []
    assert without_numbers(job.result, taken) == expected(program)
    assert sorted(taken) == sorted(f"any {number}" for number in range(1, len(taken) + 1)), "one wait takes a signal"
    check_output(program, chunks, life.acknowledged)
    assert job.usage.cost * BILLION == life.paid
