"""Steady submits that use every feature of the queue, and the ledger of acknowledged jobs.

A submit with a lost answer is repeated with the same id until answered, as by a careful client. The next module is
`checker`, which compares the ledger with the events.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agentpool_core.errors import IdempotencyConflictError
from agentpool_core.jobs import AfterCondition, JobId, JobRequest, Priority
from tests.chaos.doors import Door, DoorShutError, ParentGoneError

JOBS_A_SECOND = 20.0
KINDS = {
    "nap": 6,
    "code": 4,
    "text": 4,
    "flaky": 2,
    "steps": 2,
    "agent": 2,
    "spend": 1.5,
    "hang": 0.3,
    "poison": 0.1,
}  # kind: weight
SPENDER = "spender"  # the tenant with a budget
MOST_COST = 3  # of a call
LATE_SHARE = 0.2  # of agents that get their signals when all other jobs have ended
SIGNAL_SECONDS = 2.0  # longest pause before a signal
KEEP_PARENTS = 60  # latest jobs that children choose from
RETRY_SECONDS = 0.1


@dataclass
class Ledger:
    """The promises of the queue."""

    acknowledged: dict[str, JobRequest] = field(default_factory=dict)
    began_as: dict[str, str] = field(default_factory=dict)  # the state in the receipt of a new job
    acknowledged_at: dict[str, float] = field(default_factory=dict)  # time.monotonic()
    forgettable: set[str] = field(default_factory=set)  # acknowledged, and perhaps lost in a rollback of Redis
    cancelled_at: dict[str, float] = field(default_factory=dict)  # cancels with the answer `cancelled`
    abandoned: int = 0  # submits with a lost parent
    attempts: int = 0  # calls of submit, repeated ones included
    refusals: int = 0  # of these, answered by a connection error
    longest_submit_s: float = 0.0  # from the first try to the receipt
    longest_submit_at: float = 0.0  # seconds into the run
    broken: list[str] = field(default_factory=list)  # promises that a receipt broke

    def go_back(self, since: float) -> None:
        """Mark later promises as possibly lost."""
        self.forgettable |= {job for job, at in self.acknowledged_at.items() if at >= since}
        self.cancelled_at = {job: at for job, at in self.cancelled_at.items() if at < since}


class Load:
    """A submitter that selects a way for each job."""

    def __init__(self, doors: Sequence[Door], seed: int) -> None:
        self._random = random.Random(seed)
        self._doors = doors
        self._number = 0
        self._began = time.monotonic()
        self.ledger = Ledger()

    async def run(self, stop: asyncio.Event) -> None:
        """Submit until stopped; then wait for the answers to all started calls."""
        async with asyncio.TaskGroup() as submits:
            while not stop.is_set():
                submits.create_task(self._one(self._request()))
                await asyncio.sleep(self._random.expovariate(JOBS_A_SECOND))

    def _request(self) -> JobRequest:
        dice = self._random
        self._number += 1
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        payload: dict[str, Any] = {"n": self._number, "s": round(dice.uniform(0.005, 0.12), 3)}
        payload |= {
            "flaky": {"fails": dice.randint(1, 3)},
            "steps": {"steps": dice.randint(2, 12)},
            "agent": {
                "steps": dice.randint(1, 3), "signals": dice.randint(0, 2), "chunks": dice.randint(0, 4),
                "rest": dice.choice([0, 0.3, 1.5]), "late": dice.random() < LATE_SHARE,
            },
            "spend": {
                "calls": dice.randint(1, 3), "cost": dice.randint(1, MOST_COST), "reserves": dice.random() < 0.5,
            },
        }.get(kind, {})  # fmt: skip
        known = [job for job in self.ledger.acknowledged if job not in self.ledger.forgettable][-KEEP_PARENTS:]
        parents = dice.sample(known, min(len(known), dice.randint(1, 3))) if dice.random() < 0.2 else []
        return JobRequest(
            kind=kind,
            job_id=JobId(f"j{self._number}"),
            payload=payload,
            priority=Priority(dice.choices(["critical", "task", "info"], [1, 4, 2])[0]),
            idempotency_key=f"k{self._number}" if dice.random() < 0.15 else None,
            after=tuple(map(JobId, parents)),
            after_condition=dice.choice(list(AfterCondition)),
            delay_ms=dice.randint(1, 1500) if dice.random() < 0.1 else 0,
            ttl_ms=dice.randint(300, 5000) if dice.random() < 0.1 else None,
            timeout_ms=500 if kind == "hang" else None,
            max_attempts=2 if kind == "hang" else None,
            preemptible=kind == "steps",
            tenant=SPENDER if kind == "spend" else None,
        )

    async def _one(self, request: JobRequest) -> None:
        dice = random.Random(request.payload["n"])
        door = dice.choice(self._doors)
        try:
            await self._submit(door, request)
        except ParentGoneError as error:
            if self.ledger.forgettable.isdisjoint(request.after):
                self.ledger.broken.append(str(error))
            self.ledger.abandoned += 1
            return
        except AssertionError as error:  # an answer that no way to submit may give
            self.ledger.broken.append(str(error))
            return
        if dice.random() < 0.06:
            await asyncio.sleep(dice.uniform(0, 0.3))
            await self._cancel(door, request)
        if request.idempotency_key and dice.random() < 0.5:
            await self._conflict(door, request)
        if request.kind == "agent" and not request.payload["late"]:
            for value in signals_of(request):
                await asyncio.sleep(dice.uniform(0, SIGNAL_SECONDS))
                await self._signal(dice.choice(self._doors), request, value)

    async def signal_all(self) -> None:
        """Send every signal of every agent, again or for the first time: no agent waits any more."""
        agents = [request for request in self.ledger.acknowledged.values() if request.kind == "agent"]
        for request in agents:
            for value in signals_of(request):
                await self._signal(self._doors[0], request, value)

    async def _signal(self, door: Door, request: JobRequest, value: str) -> None:
        assert request.job_id is not None
        try:
            while not await self._signalled(door, request.job_id, value):  # noqa: ASYNC110 - the pace of trying again
                await asyncio.sleep(RETRY_SECONDS)
        except AssertionError as error:
            self.ledger.broken.append(str(error))

    async def _signalled(self, door: Door, job_id: JobId, value: str) -> bool:
        """Send a signal; return whether there is an answer."""
        try:
            await door.signal(job_id, "go", value)
        except DoorShutError:
            return False
        return True

    async def _submit(self, door: Door, request: JobRequest) -> None:
        begun = time.monotonic()
        while True:
            self.ledger.attempts += 1
            try:
                known_as, state = await door.submit(request)
                break
            except DoorShutError:
                self.ledger.refusals += 1
                await asyncio.sleep(RETRY_SECONDS)
        took = time.monotonic() - begun
        if took > self.ledger.longest_submit_s:
            self.ledger.longest_submit_s, self.ledger.longest_submit_at = took, begun - self._began
        if known_as != request.job_id:
            self.ledger.broken.append(f"{request.job_id} was acknowledged as {known_as}")
        self.ledger.acknowledged[str(request.job_id)] = request
        self.ledger.began_as[str(request.job_id)] = state
        self.ledger.acknowledged_at[str(request.job_id)] = time.monotonic()

    async def _cancel(self, door: Door, request: JobRequest) -> None:
        assert request.job_id is not None
        try:
            if await door.cancel(request.job_id) == "cancelled":
                self.ledger.cancelled_at[request.job_id] = time.monotonic()
        except DoorShutError:
            return  # the answer was lost, without a promise

    async def _conflict(self, door: Door, request: JobRequest) -> None:
        """The same key and body return the same job; a different body is refused."""
        same = JobRequest(kind=request.kind, payload=request.payload, idempotency_key=request.idempotency_key)
        other = JobRequest(kind=request.kind, payload="other", idempotency_key=request.idempotency_key)
        for again in (same, other):
            try:
                known_as, _ = await door.submit(again)
            except IdempotencyConflictError:
                continue  # `same` may differ in further fields of the digest
            except DoorShutError:
                return
            if request.job_id in self.ledger.forgettable:  # and so the key is free again
                self.ledger.acknowledged.setdefault(known_as, again)
                return
            if again is other or known_as != request.job_id:
                self.ledger.broken.append(f"key {request.idempotency_key} made {known_as}")


def signals_of(request: JobRequest) -> list[str]:
    """Return the signals that an agent gets, each of which is its own id."""
    return [f"{request.job_id}-{number}" for number in range(request.payload["signals"])]
