"""Jobs that take more than a slot: slots and GPU memory of a worker, and the room that is kept for a large job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Room, Succeeded
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.settings import Route

GIB = 1024
ROUTES = (
    Route(name="big", kinds=("big",), gpu_memory_mib=40 * GIB),
    Route(name="mid", kinds=("mid",), slots=2, gpu_memory_mib=24 * GIB),
    Route(name="small", kinds=("small",), gpu_memory_mib=8 * GIB),
    Route(name="wide", kinds=("wide",), slots=6),
)
SETTINGS = PoolSettings(routes=ROUTES, concurrency=4, gpu_memory_mib=80 * GIB, lease_ms=3_600_000)


class Ground:
    """A pool of jobs of different sizes, and what its workers hold."""

    def __init__(self, redis, pool) -> None:
        self.redis, self.pool = redis, pool
        self.held: dict[str, list] = {}
        self.consumers: dict[str, Consumer] = {}

    async def begin(self, **changes) -> None:
        """Publish the settings."""
        await Inspector(self.redis).configure(self.pool, replace(SETTINGS, **changes))

    async def worker(self, name) -> str:
        """Register a worker of 4 slots and 80 GiB."""
        self.consumers[name] = Consumer(self.redis, self.pool, WorkerId(name))
        await self.consumers[name].register(slots=4, host="here")
        self.held[name] = []
        return name

    async def submit(self, *kinds) -> None:
        await Producer(self.redis, self.pool).submit_many([JobRequest(kind=kind) for kind in kinds])

    def room(self, name) -> Room:
        held = [SETTINGS.find_route(lease.route) for lease in self.held[name]]
        slots, memory = sum(r.slots for r in held), sum(r.gpu_memory_mib for r in held)
        return Room(
            slots=max(0, 4 - slots), all_slots=4, memory_mib=80 * GIB - memory, all_memory_mib=80 * GIB
        )  # fmt: skip

    async def claim(self, name) -> list[str]:
        """Claim with what is free; return the kinds."""
        leases = await self.consumers[name].claim(self.room(name))
        self.held[name] += leases
        return sorted(lease.kind for lease in leases)

    async def end(self, name, kind) -> list[str]:
        """End a job of a kind and claim in one call; return the kinds of the next jobs."""
        ended = next(lease for lease in self.held[name] if lease.kind == kind)
        self.held[name].remove(ended)
        done = Succeeded(job_id=ended.job_id, token=ended.token)
        _, leases = await self.consumers[name].exchange([done], self.room(name))
        self.held[name] += leases
        return sorted(lease.kind for lease in leases)

    async def tick(self) -> None:
        """Return when the clock of Redis, in milliseconds, has moved on: later jobs are younger."""

        async def now() -> int:
            seconds, micros = await self.redis.time()
            return seconds * 1000 + micros // 1000

        before = await now()
        while await now() == before:
            pass

    async def pass_time(self, ms) -> None:
        """Move the pool's clock on."""
        await self.redis.hincrby(Keys(self.pool).counters, "clock_offset_ms", ms)


@pytest.fixture
async def ground(redis, pool):
    """A pool of jobs of different sizes, with one worker `a`."""
    given = Ground(redis, pool)
    await given.begin()
    await given.worker("a")
    yield given
    for consumer in given.consumers.values():
        await consumer.deregister()


async def test_jobs_start_as_far_as_slots_and_memory_are_free(ground):
    """A worker takes the oldest jobs that fit into its slots and its memory together, and no more."""
    await ground.submit("big", "mid", "mid", "small", "small")
    assert await ground.claim("a") == ["big", "mid", "small"]  # 4 slots, 72 GiB
    assert await ground.claim("a") == []
    assert await ground.end("a", "big") == ["small"]  # the second mid needs two slots
    assert await ground.end("a", "mid") == ["mid"]


async def test_an_empty_worker_takes_a_job_of_more_than_all_its_slots(ground):
    """A job of 6 slots starts on a worker of 4 that runs nothing, and runs alone there."""
    await ground.submit("small", "wide", "small")
    assert await ground.claim("a") == ["small", "small"]
    await ground.submit("small")
    assert await ground.end("a", "small") == ["small"]
    assert await ground.end("a", "small") == []
    assert await ground.end("a", "small") == ["wide"]
    await ground.submit("small")
    assert await ground.claim("a") == []


async def test_a_job_that_fits_nowhere_leaves_the_bell_to_others(ground, redis):
    """A worker without room rings for the next one, and rings once, not for ever."""
    await ground.submit("big", "big", "big")
    assert await ground.claim("a") == ["big", "big"]
    bell = Keys(ground.pool).bell
    await redis.delete(bell)
    await ground.submit("mid")
    await redis.delete(bell)
    await ground.pass_time(1_000)
    assert await ground.claim("a") == []
    assert await redis.llen(bell) == 1
    await redis.delete(bell)
    assert await ground.claim("a") == []
    assert await redis.llen(bell) == 0


async def test_small_jobs_never_keep_the_room_of_a_large_job_for_ever(ground):
    """One worker keeps what becomes free for a large job that was due before others; other workers go on."""
    await ground.worker("b")
    await ground.submit(*["small"] * 8)
    assert [await ground.claim(name) for name in ("a", "b")] == [["small"] * 4] * 2
    await ground.submit("wide")
    await ground.tick()
    await ground.submit(*["small"] * 8)
    assert await ground.end("a", "small") == ["small"], "within the patience of the large job, small jobs pass it"
    await ground.begin(patience_task_ms=0)
    assert await ground.end("a", "small") == []
    assert await ground.end("b", "small") == ["small"]
    assert [await ground.end("a", "small") for _ in range(3)] == [[], [], ["wide"]]
    assert await ground.end("a", "wide") == ["small"] * 4, "no room is kept any longer"


async def test_a_worker_that_stops_claiming_keeps_no_room(ground):
    """A worker that keeps room and claims no more is replaced by the next worker that claims."""
    await ground.worker("b")
    await ground.begin(patience_task_ms=0)
    await ground.submit(*["small"] * 8)
    assert [await ground.claim(name) for name in ("a", "b")] == [["small"] * 4] * 2
    await ground.submit("wide")
    await ground.tick()
    await ground.submit(*["small"] * 8)
    assert await ground.end("a", "small") == []
    await ground.pass_time(29_000)
    assert await ground.end("b", "small") == ["small"]
    await ground.pass_time(2_000)
    assert await ground.end("b", "small") == []
    assert await ground.claim("a") == ["small"], "the worker that claims again is free of it"


async def test_a_worker_that_knows_no_costs_starts_no_job_with_memory(ground):
    """A claim by slots alone, as of a worker with older settings, brings no job that needs memory."""
    await ground.submit("big", "small")
    assert await ground.consumers["a"].claim(4) == []
    _, leases = await ground.consumers["a"].wait_and_claim(1, 4)
    assert leases == []
