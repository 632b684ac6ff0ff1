"""Redis goes back in time again and again under busy workers: the pool recovers within the documented time.

Three ways: a crash that restores an older snapshot, a replica that had stopped following and becomes primary, and a
power loss that drops every unsynced write. Lost jobs may stay lost, but none that was acknowledged with durability;
every known job ends once, and no slot, counter or entry remains.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path

import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import AfterCondition, Durability, JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer, Route, connect
from agentpool_core.queue.audit import audit
from bench.durability.power import Disk
from tests.fixtures.lines import Line
from tests.fixtures.redis import RedisServer, wait_until

LEASE_MS = 2_000
LIMIT = 2
SETTINGS = PoolSettings(
    routes=(Route(name="narrow", kinds=("nap",), max_running=LIMIT),),
    concurrency=6, lease_ms=LEASE_MS, timeout_ms=30_000, retry_initial_ms=20, retry_max_ms=50,
)  # fmt: skip
WORKERS = 3
ROUNDS = 3
BEFORE, AFTER = 30, 20  # jobs submitted before the restored moment, and after it
HEALED_WITHIN_SECONDS = (
    60.0  # documented: a lease and a lap of the audit; the rest is for the jobs to run, on a busy machine
)
pytestmark = pytest.mark.timeout(600)


class Restored:
    """A server that crashes and restarts with an older snapshot."""

    durability = Durability.LOCAL  # of the jobs that are submitted after the restored moment

    def __init__(self) -> None:
        self.server = RedisServer().start()

    async def keep(self) -> None:
        """Keep the state to return to."""
        self._snapshot = await asyncio.to_thread(self.server.keep)

    async def go_back(self) -> None:
        """Lose all later writes."""
        await asyncio.to_thread(self.server.go_back, self._snapshot)

    def close(self) -> None:
        self.server.close()


class Unsynced:
    """A server that loses power: everything behind the last fsync is lost."""

    durability = Durability.FSYNC

    def __init__(self) -> None:
        self._note = tempfile.TemporaryDirectory(prefix="ap-disk-")
        self._disk = Disk(Path(self._note.name))
        log = ("--appendonly", "yes", "--appendfsync", "everysec")
        self.server = RedisServer(*log, environment=self._disk.environment).start()

    async def keep(self) -> None:
        """Keep nothing: the last fsync is the moment to return to."""

    async def go_back(self) -> None:
        """Lose all unsynced writes."""
        await asyncio.to_thread(self.server.kill)
        self._disk.lose_power(self.server.directory)
        await asyncio.to_thread(self.server.start)

    def close(self) -> None:
        self.server.close()
        self._note.cleanup()


class Promoted:
    """A server with a replica that stops following, and becomes primary after the server's end."""

    durability = Durability.LOCAL

    def __init__(self) -> None:
        self.server, self._replica = (RedisServer("--repl-diskless-sync-delay", "0").start() for _ in range(2))

    async def keep(self) -> None:
        """Stop the replication after the latest write."""
        async with connect(self._replica.url) as replica, connect(self.server.url) as primary:
            await replica.execute_command("REPLICAOF", "127.0.0.1", self.server.port)

            async def in_step() -> bool:
                followers = [await primary.info("replication"), await replica.info("replication")]
                return followers[1]["master_link_status"] == "up" and followers[0]["connected_slaves"] == 1

            await wait_until(in_step, "the replica follows")
            await primary.execute_command("WAIT", 1, 5_000)
            await replica.execute_command("REPLICAOF", "NO", "ONE")

    async def go_back(self) -> None:
        """Promote the replica; empty the old server and make it the replica."""
        await asyncio.to_thread(self.server.kill)
        self.server, self._replica = self._replica, self.server
        await asyncio.to_thread(self._replica.start)

    def close(self) -> None:
        self.server.close()
        self._replica.close()


@pytest.fixture(params=[Restored, Promoted, Unsynced])
async def place(request):
    """A Redis that can go back in time, behind a constant address."""
    place = request.param()
    line = await Line(lambda: place.server.port).open()
    place.url = line.url
    place.line = line
    yield place
    await line.aclose()
    place.close()


async def submit(
    producer: Producer, dice: random.Random, count: int, durability: Durability = Durability.LOCAL
) -> list[str]:
    """Submit jobs of a narrow route and of a wide route, some with parents, some delayed."""
    requests = []
    for number in range(count):
        kind, payload = dice.choice([("nap", round(dice.uniform(0.01, 0.2), 3)), ("steps", dice.randint(1, 8))])
        after = (requests[number - 2].job_id,) if number > 2 and dice.random() < 0.3 else ()
        requests.append(
            JobRequest(
                kind=kind, payload=payload, job_id=f"j{dice.getrandbits(48):x}", after=after,
                after_condition=AfterCondition.FINISHED, delay_ms=dice.choice([0, 0, 0, 300]), max_attempts=50,
            )
        )  # fmt: skip
    return [receipt.job_id for receipt in await producer.submit_many(requests, durability=durability)]


async def test_a_pool_recovers_from_a_rollback_of_redis(place, start_workers, pool_ref):
    """Every known job succeeds; limits, counters and entries agree; no worker runs a lost job."""
    dice = random.Random(7)
    async with contextlib.aclosing(connect(place.url)) as redis:
        inspector, producer = Inspector(redis), Producer(redis, pool_ref)
        await inspector.configure(pool_ref, SETTINGS)
        workers = start_workers(place.url, pool_ref)
        for _ in range(WORKERS):
            workers.start()
        kept: list[str] = []

        async def finished(more: int):
            wanted = (await inspector.snapshot(pool_ref)).finished_total + more
            await wait_until(
                lambda: _finished(inspector, pool_ref, wanted), f"{more} jobs more have ended", within_s=60
            )

        for _ in range(ROUNDS):
            kept += await submit(producer, dice, BEFORE)
            await finished(BEFORE // 3)
            await place.keep()
            durable = await submit(producer, dice, AFTER, place.durability)
            if place.durability is not Durability.LOCAL:
                kept += durable
                await submit(producer, dice, AFTER)
            await finished(BEFORE // 3)
            place.line.cut()
            await place.go_back()
            place.line.mend()
            await redis.connection_pool.disconnect()
        await wait_until(
            lambda: _at_rest(inspector, pool_ref), "all that Redis knows has ended", within_s=HEALED_WITHIN_SECONDS
        )
        for job_id in kept:
            assert (await inspector.job(pool_ref, job_id)).state is JobState.SUCCEEDED
        await wait_until(
            lambda: _agrees(redis, pool_ref), "the pool contradicts itself nowhere", within_s=HEALED_WITHIN_SECONDS
        )
        counters = await redis.hgetall(f"ap:{{{pool_ref}}}:counters")
        counters = {name: value for name, value in counters.items() if name[1:2] == ":" and name[0] in "qtyur"}
        assert {*counters.values()} == {"0"}, counters
        idle = lambda: all(worker.metric("agentpool_worker_slots_used") == 0 for worker in workers.all)  # noqa: E731
        await wait_until(idle, "no worker runs anything", within_s=HEALED_WITHIN_SECONDS)
        assert {worker.process.poll() for worker in workers.all} == {None}


async def _finished(inspector: Inspector, pool, wanted: int) -> bool:
    with contextlib.suppress(QueueError):
        return (await inspector.snapshot(pool)).finished_total >= wanted
    return False


async def _at_rest(inspector: Inspector, pool) -> bool:
    with contextlib.suppress(QueueError):
        now = await inspector.snapshot(pool)
        assert all(route.running <= LIMIT for route in now.routes if route.name == "narrow"), now
        return not (now.queued or now.running or now.scheduled or now.blocked)
    return False


async def _agrees(redis, pool) -> bool:
    with contextlib.suppress(QueueError):
        return await audit(redis, pool) == []
    return False
