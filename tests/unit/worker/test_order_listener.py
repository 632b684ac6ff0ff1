"""The listener: a single wait returns the bell and the jobs, and a cancelled wait leaves no job behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from agentpool_core.errors import QueueUnreachableError
from agentpool_core.queue.completions import CancelJob, Cancelled, Wake
from agentpool_worker import App
from agentpool_worker.jobs.order_listener import OrderListener
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, lease

app = App()


@app.handler("work")
async def work(payload):
    if payload is not None:
        await payload.wait()


@app.handler("call")
async def call(payload):
    payload()


class BlockingQueue:
    """The blocking half of a fake queue: a bell with a claim, and a list of orders."""

    def __init__(self, bench: Bench) -> None:
        self.queue = bench.queue
        self.bell: asyncio.Queue[None] = asyncio.Queue()
        self.orders: asyncio.Queue = asyncio.Queue()
        self.limits: list[int] = []  # of each wait
        self.fails = 0  # waits that are to fail
        self.closing = 0  # turns of the event loop until a cancelled wait has ended

    async def wait(self, timeout_ms, *, for_work=True):
        if not for_work:
            return [await self.orders.get()]
        self.limits.append(0)
        await self.bell.get()
        return []

    async def wait_and_claim(self, timeout_ms, limit):
        self.limits.append(limit)
        if self.fails:
            self.fails -= 1
            raise QueueUnreachableError("away")
        try:
            await self.bell.get()
        except asyncio.CancelledError:
            for _ in range(self.closing):
                await asyncio.sleep(0)
            raise
        return [Wake()], self.queue._take(limit)

    async def claim(self, limit):
        return await self.queue.claim(limit)


@asynccontextmanager
async def listening(*, packs=False, **slots):
    async with Bench(app, **slots) as bench:
        bench.slots.divide_memory(80, packs=packs)
        blocking = BlockingQueue(bench)
        listener = OrderListener(
            queue=blocking, claims=bench.claims, running_jobs=bench.running_jobs, safety_poll_ms=1_000
        )
        task = asyncio.create_task(listener.run())
        await wait_until(lambda: blocking.limits, "the worker waits for the bell")
        yield bench, blocking
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_of_jobs_of_different_sizes_waits_without_slots():
    """The bell brings no job: one claim asks for all that is free, also for what has become free during the wait."""
    async with listening(packs=True) as (bench, blocking):
        assert blocking.limits == [0]
        bench.queue.ready.append(lease())
        blocking.bell.put_nowait(None)
        await bench.settled(1)
        await wait_until(lambda: blocking.limits == [0, 0], "the worker waits again, and does not ask all the time")
        bench.claims.stop_claiming()
        assert not bench.claims.break_off(), "the wait of a worker that leaves has ended"


async def test_jobs_come_with_the_bell():
    """An idle worker requests all its slots in the wait, and sends no separate claim."""
    async with listening(slots=4) as (bench, blocking):
        calls = len(bench.queue.calls)
        bench.queue.ready.append(lease())
        blocking.bell.put_nowait(None)
        await bench.settled(1)
        assert blocking.limits[0] == 4
        assert not [name for name, _, _ in bench.queue.calls[calls:] if name == "claim"]


async def test_a_handler_begins_before_the_next_wait_is_sent():
    """The job does not wait for the next request of the listener."""
    waits_before_it: list[int] = []
    async with listening(slots=4) as (bench, blocking):
        bench.queue.ready.append(lease("call", lambda: waits_before_it.append(len(blocking.limits))))
        blocking.bell.put_nowait(None)
        await wait_until(lambda: len(blocking.limits) > 1, "it listens again")
        assert waits_before_it == [1]


async def test_slots_of_a_wait_are_reserved():
    """While a wait holds the free slots, no claim requests them."""
    async with listening(slots=4) as (bench, _):
        bench.claims.bell()
        await asyncio.sleep(0)
        hold = asyncio.Event()
        bench.queue.ready.extend(lease(payload=hold, number=number) for number in range(3))
        bench.claims.bell()
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.slots.used == 0


async def test_a_full_wait_is_followed_by_claims():
    """After the wait has filled its slots, the claim loop continues."""
    async with listening(slots=2) as (bench, blocking):
        bench.queue.ready.extend(lease(number=number) for number in range(7))
        blocking.bell.put_nowait(None)
        await bench.settled(7)


async def test_a_draining_worker_cancels_its_wait():
    """No wait follows `stop_claiming`, and a bell that the wait received is passed on."""
    async with listening(slots=4) as (bench, blocking):
        bench.claims.stop_claiming()
        await wait_until(lambda: ("claim", 0, 0) in bench.queue.calls, "the bell is passed on")
        bench.queue.ready.append(lease())
        blocking.bell.put_nowait(None)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not bench.queue.settled
        assert len(blocking.limits) == 1


async def test_fewer_slots_are_waited_for_after_a_shrink():
    """A wait that keeps more slots than there are is begun again with fewer."""
    async with listening(slots=4) as (bench, blocking):
        bench.slots.resize(2)
        bench.claims.release_excess()
        await wait_until(lambda: blocking.limits == [4, 2], "the worker waits with fewer slots")


async def test_a_worker_without_its_cordon_claims_however_slowly_its_wait_ends():
    """The slots of the wait return after the turn of the claim loop, so the loop needs a second turn."""
    async with listening(slots=1) as (bench, blocking):
        blocking.closing = 5
        bench.queue.ready.append(lease())
        blocking.orders.put_nowait(Wake())
        await bench.settled(1)


async def test_a_wait_that_failed_is_begun_again():
    """After an outage the claim loop asks first; then the wait begins again."""
    async with Bench(app) as bench:
        blocking = BlockingQueue(bench)
        blocking.fails = 1
        listener = OrderListener(
            queue=blocking, claims=bench.claims, running_jobs=bench.running_jobs, safety_poll_ms=1_000
        )
        task = asyncio.create_task(listener.run())
        await wait_until(lambda: len(blocking.limits) == 2, "the second wait has begun")
        bench.queue.ready.append(lease())
        blocking.bell.put_nowait(None)
        await bench.settled(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_orders_are_obeyed_during_a_wait_for_work():
    """A cancel reaches the job, and a lifted cordon makes the worker claim at once."""
    async with listening(slots=4) as (bench, blocking):
        bench.queue.ready.append(lease(payload=asyncio.Event()))
        blocking.bell.put_nowait(None)
        await wait_until(lambda: bench.slots.used == 1, "the job runs")
        blocking.orders.put_nowait(CancelJob(job_id="job-1", token=1))
        (ended,) = await bench.settled(1)
        assert isinstance(ended, Cancelled)
        waits = len(blocking.limits)
        blocking.orders.put_nowait(Wake())
        await wait_until(lambda: len(blocking.limits) > waits, "it waits again, having asked")


async def test_a_lost_lease_does_not_leave_an_idle_worker_deaf():
    """A cancelled wait holds its slots for a moment; the claim follows the end of the wait."""
    async with listening(slots=4) as (bench, _):
        bench.queue.ready.append(lease())
        bench.claims.break_off()
        bench.claims.bell()
        await bench.settled(1)
