"""The faults of a chaos run, and the scheduler that selects them by a seed.

Every kind of fault occurs once before any kind occurs again, in an order that the seed shuffles; each fault ends by
itself and repairs any lasting damage (a stopped process continues, a killed operator is started again). The next module
is `run`, which waits for the last fault, then for the system to settle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import psutil

from tests.chaos.clocks import Clock
from tests.chaos.ground import LEASE_SECONDS, Ground, Machine
from tests.chaos.rollbacks import Rollback
from tests.fixtures.faults import WRITES
from tests.fixtures.redis import wait_until

CLOCK_STEPS_SECONDS = (1, 5, 60, 3600)
CONFLICT = 409  # answered to writes only
NOTICED_WITHIN_SECONDS = 20.0
PAUSE_SECONDS = (0.4, 2.2)  # between two faults, shortest and longest

_log = logging.getLogger("chaos")


class Faults:
    """Disturbs one ground, by one seed."""

    def __init__(
        self,
        ground: Ground,
        seed: int,
        *,
        pause_s: tuple[float, float] = PAUSE_SECONDS,
        rolled_back: Callable[[Rollback], None] = lambda _: None,
    ) -> None:
        self._ground = ground
        self._random = random.Random(seed)
        self._rolled_back = rolled_back  # called at each rollback before any client may connect again
        self._pause_s = pause_s  # between two faults, shortest and longest
        self._rollouts = 0
        self.injected: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []  # seconds into the run, and the fault

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "worker killed": self.kill_worker,
            "worker stopped": self.stop_worker,
            "operator killed": self.kill_operator,
            "operator stopped": self.stop_operator,
            "gateway killed": self.kill_gateway,
            "gateway stopped": self.stop_gateway,
            "API server stopped": self.stop_api,
            "node lost": self.lose_node,
            "node stopped": self.stop_node,
            "redis restarted": self.restart_redis,
            "redis stopped": self.stop_redis,
            "replica killed": self.kill_replica,
            **{f"clock of {name} set": partial(self.set_clock, clock) for name, clock in self._ground.clocks.items()},
            "connections reset": self.reset_connections,
            "redis delayed 500 ms": self.delay_redis,
            "redis failed over": self.fail_over,
            "redis rolled back": self.roll_back,
            "redis out of disk": self.fill_disk,
            "watches closed": self.close_watches,
            "API errors": self.refuse_requests,
            "API away": self.cut_api,
            "rolling update": self.roll,
            "spec changed": self.change_spec,
        }

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        deck: list[str] = []
        while time.monotonic() - began < seconds:
            if not deck:
                deck = sorted(self.kinds)
                self._random.shuffle(deck)
            kind = deck.pop()
            self._ground.note_processes()
            self.log.append((time.monotonic() - began, kind))
            _log.info("%s", kind)
            await self.kinds[kind]()
            self.injected[kind] += 1
            await asyncio.sleep(self._random.uniform(*self._pause_s))

    def _pick_worker(self) -> psutil.Process | None:
        workers = sorted(self._ground.workers(), key=lambda each: each.pid)
        return self._random.choice(workers) if workers else None

    async def kill_worker(self) -> None:
        if worker := self._pick_worker():
            with contextlib.suppress(psutil.Error):
                worker.kill()

    async def stop_worker(self) -> None:
        """Stop a worker, sometimes long enough to lose the lease; then the worker continues with lost jobs."""
        worker, seconds = self._pick_worker(), self._random.uniform(0.3, 2.0 * LEASE_SECONDS)
        if worker is None:
            return
        with contextlib.suppress(psutil.Error):
            worker.suspend()
            await asyncio.sleep(seconds)
            worker.resume()

    async def kill_operator(self) -> None:
        operator, seconds = self._random.choice(self._ground.operators), self._random.uniform(0.0, 3.0)
        operator.kill()
        await asyncio.sleep(seconds)
        operator.start()

    async def stop_operator(self) -> None:
        await self._stop(self._random.choice(self._ground.operators), self._random.uniform(1.0, 5.0))

    async def stop_gateway(self) -> None:
        await self._stop(self._ground.gateway, self._random.uniform(0.5, 3.0))

    async def stop_api(self) -> None:
        """Stop the API server, sometimes long enough to make nodes look lost, because it records their heartbeats."""
        await self._stop(self._ground.api, self._random.uniform(0.5, 6.0))

    async def stop_node(self) -> None:
        """Suspend the machine and all processes.

        Sometimes the pods have been replaced before the end of the suspension.
        """
        await self._stop(self._random.choice(self._ground.nodes), self._random.uniform(0.5, 8.0))

    async def _stop(self, machine: Machine, seconds: float) -> None:
        stopped = machine.family()
        try:
            for process in stopped:
                _send(process, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            for process in stopped:
                _send(process, signal.SIGCONT)

    async def restart_redis(self) -> None:
        crash, seconds = self._random.random() < 0.7, self._random.uniform(0.0, 1.5)
        await asyncio.to_thread(self._ground.redis.kill if crash else self._ground.redis.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._ground.redis.start)

    async def stop_redis(self) -> None:
        redis, seconds = self._ground.redis, self._random.uniform(0.2, 2.0 * LEASE_SECONDS)
        redis.freeze()
        await asyncio.sleep(seconds)
        redis.thaw()

    async def kill_replica(self) -> None:
        await asyncio.to_thread(self._ground.replica.kill)
        await asyncio.to_thread(self._ground.replica.start)
        await self._ground.follow()

    async def set_clock(self, clock: Clock) -> None:
        """Move the clock forward or back, by a little or by far more than any lease, wait or window of the system."""
        clock.move(self._random.choice((-1, 1)) * self._random.choice(CLOCK_STEPS_SECONDS))

    async def fail_over(self) -> None:
        await self._ground.fail_over()

    async def roll_back(self) -> None:
        """Redis loses the latest writes: it returns to a recent state, while all clients have continued."""
        since, seconds = time.monotonic(), self._random.uniform(0.1, 2.5)
        kept = await asyncio.to_thread(self._ground.redis.keep)
        await asyncio.sleep(seconds)

        def restored(newest: str) -> None:
            self._rolled_back(Rollback(since=since, until=time.monotonic(), newest=newest))

        await self._ground.roll_back(kept, restored)

    async def fill_disk(self) -> None:
        """Redis cannot write the log and ends, because it would lose promises; later the disk has space again."""
        redis = self._ground.redis
        redis.fill_disk()
        await wait_until(
            lambda: not redis.running, "Redis notices that its disk is full", within_s=NOTICED_WITHIN_SECONDS
        )
        await asyncio.to_thread(redis.start)

    async def reset_connections(self) -> None:
        for _ in range(self._random.randint(1, 4)):
            self._ground.redis_line.reset()
            await asyncio.sleep(self._random.uniform(0.0, 0.2))

    async def delay_redis(self) -> None:
        self._ground.redis_line.delay_s = 0.5
        await asyncio.sleep(self._random.uniform(1.0, 3.0))
        self._ground.redis_line.delay_s = 0.0

    async def close_watches(self) -> None:
        self._ground.api_proxy.end_watches()

    async def refuse_requests(self) -> None:
        """Some of the operators' next requests are refused, as by a busy or changing API server."""
        proxy, dice = self._ground.api_proxy, self._random
        for status in dice.choices((409, 410, 429, 500, 503), k=dice.randint(2, 8)):
            proxy.fail(status, methods={"GET", *WRITES} if status != CONFLICT else WRITES)
        await asyncio.sleep(dice.uniform(0.5, 3.0))
        proxy.faults.clear()

    async def cut_api(self) -> None:
        proxy, seconds = self._ground.api_proxy, self._random.uniform(0.5, 5.0)
        proxy.away = True
        proxy.end_watches()
        await asyncio.sleep(seconds)
        proxy.away = False

    async def kill_gateway(self) -> None:
        gateway, seconds = self._ground.gateway, self._random.uniform(0.0, 2.0)
        gateway.kill()
        await asyncio.sleep(seconds)
        gateway.start()

    async def roll(self) -> None:
        self._rollouts += 1
        await self._ground.apply(rollout=self._rollouts)

    async def change_spec(self) -> None:
        dice = self._random
        await self._ground.apply(
            concurrency=dice.randint(2, 6), maxReplicas=dice.randint(1, 3), elastic=dice.randint(1, 4),
            task=dice.choice([0, 1, 60]),
        )  # fmt: skip

    async def lose_node(self) -> None:
        """All processes of a node end at once; the node returns, sometimes before the loss is noticed."""
        node, seconds = self._random.choice(self._ground.nodes), self._random.uniform(1.0, 7.0)
        node.kill()
        await asyncio.sleep(seconds)
        node.start()


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
