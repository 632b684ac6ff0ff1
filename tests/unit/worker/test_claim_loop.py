"""Calls of the worker to the queue: few round trips, no polling, and no loss during an outage."""

from __future__ import annotations

import asyncio

from agentpool_core.errors import PayloadTooLargeError
from agentpool_core.queue.completions import Failed, SettleOutcome, Succeeded
from agentpool_worker import App
from agentpool_worker.jobs.execution import Stop
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, lease

app = App()
gate = asyncio.Event()


@app.handler("work")
async def work(payload, ctx):
    return payload


@app.handler("gated")
async def gated(payload, ctx):
    await payload.wait()


async def test_a_batch_of_jobs_shares_its_round_trips():
    """With eight slots, a hundred quick jobs take about a hundred / eight round trips, not hundreds."""
    async with Bench(app, slots=8) as bench:
        bench.submit(*(lease(number=number) for number in range(100)))
        await bench.settled(100)
    assert len(bench.queue.calls) <= 30


async def test_never_more_jobs_than_slots():
    """Claims in flight and running jobs together stay within the slots."""
    async with Bench(app, slots=40) as bench:
        hold = asyncio.Event()
        bench.submit(*(lease("gated", hold, number=number) for number in range(100)))
        await wait_until(lambda: bench.slots.used == 40, "all slots are in use")
        assert len(bench.queue.ready) == 60
        hold.set()
        await bench.settled(100)


async def test_an_idle_worker_makes_no_calls():
    """A queue that was found empty is left alone until the bell."""
    async with Bench(app) as bench:
        await wait_until(bench.claims.hungry.is_set, "the worker waits for the bell")
        calls = len(bench.queue.calls)
        for _ in range(100):  # turns of the event loop, in each of which a busy poll would call
            await asyncio.sleep(0)
        assert len(bench.queue.calls) == calls
        bench.submit(lease())
        await bench.settled(1)


async def test_a_bell_that_rings_during_an_empty_claim_is_not_lost():
    """A job that is ready between the script's check and its answer is claimed at once."""
    async with Bench(app) as bench:
        await wait_until(bench.claims.hungry.is_set, "the worker waits for the bell")

        def arrive() -> None:
            bench.queue.during = lambda: None
            bench.submit(lease())

        bench.queue.during = arrive
        bench.claims.bell()
        await bench.settled(1)


async def test_finished_jobs_are_kept_while_the_queue_is_away():
    """Completions wait out an outage, in order, and are delivered once."""
    async with Bench(app) as bench:
        hold = asyncio.Event()
        bench.submit(*(lease("gated", hold, number=number) for number in range(3)))
        await wait_until(lambda: bench.slots.used == 3, "the jobs run")
        bench.queue.away = True
        hold.set()
        await wait_until(lambda: bench.queue.unreached >= 2, "delivery was tried")
        assert (bench.buffer.undelivered, bench.metrics.reconnects) == (3, 0)
        bench.queue.away = False
        settled = await bench.settled(3)
        await wait_until(lambda: bench.buffer.undelivered == 0, "everything is confirmed")
        await wait_until(lambda: bench.metrics.reconnects, "the end of the outage is counted")
    assert bench.metrics.reconnects == 1
    assert [completion.job_id for completion in settled] == ["job-0", "job-1", "job-2"]


async def test_a_result_that_is_too_large_fails_only_its_job():
    """The result is replaced by a failure; the completions in the same call are settled."""
    async with Bench(app) as bench:

        def refuse(completion):
            if isinstance(completion, Succeeded) and completion.result == "huge":
                return PayloadTooLargeError(field="result", size=10, limit=5)
            return None

        bench.queue.refuse = refuse
        bench.submit(lease(payload="huge"), lease(payload="small", number=2))
        by_job = {completion.job_id: completion for completion in await bench.settled(2)}
    assert by_job["job-2"].result == "small"
    assert isinstance(by_job["job-1"], Failed)
    assert not by_job["job-1"].retry
    assert "larger than the limit" in by_job["job-1"].error


async def test_stale_finishes_are_counted():
    """A completion that the queue refuses is counted as stale and not sent again."""
    async with Bench(app) as bench:
        bench.queue.outcome = SettleOutcome.STALE
        bench.submit(lease())
        await bench.settled(1)
        await wait_until(lambda: bench.metrics.outcomes() == {"stale": 1}, "the refusal is counted")
        assert bench.buffer.undelivered == 0


async def test_slots_of_a_lost_lease_are_filled_again():
    """The jobs of a lost lease have nothing to settle; their ends wake the claim loop all the same."""
    async with Bench(app, slots=2) as bench:
        hold = asyncio.Event()
        bench.submit(*(lease("gated", hold, number=number) for number in range(2)))
        await wait_until(lambda: bench.slots.used == 2, "all slots are in use")
        bench.running_jobs.stop_all(Stop.LEASE_LOST)
        bench.claims.bell()  # while the slots are still in use
        bench.submit(lease(number=3))
        settled = await bench.settled(1)
    assert [completion.job_id for completion in settled] == ["job-3"]


async def test_growing_slots_are_filled_at_once():
    """A resize wakes the claim loop."""
    async with Bench(app, slots=1) as bench:
        hold = asyncio.Event()
        bench.submit(*(lease("gated", hold, number=number) for number in range(3)))
        await wait_until(lambda: bench.slots.used == 1, "one job runs")
        bench.slots.resize(3)
        await wait_until(lambda: bench.slots.used == 3, "three jobs run")
        bench.slots.resize(1)
        assert bench.slots.free == 0
        hold.set()
        await bench.settled(3)
