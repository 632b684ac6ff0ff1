"""A queue in memory, for tests of the worker's modules: the queue gives leases and records calls."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from agentpool_core.errors import BudgetExceededError, QueueUnreachableError
from agentpool_core.jobs import JobId, JobState, Lease, LeaseToken, Priority, Receipt
from agentpool_core.queue.completions import Cancelled, Failed, Returned, Room, SettleOutcome, Succeeded, Waiting
from agentpool_worker.guards.fitness import Fitness
from agentpool_worker.jobs.claim_loop import ClaimLoop
from agentpool_worker.jobs.completion_buffer import CompletionBuffer
from agentpool_worker.jobs.running_jobs import RunningJobs
from agentpool_worker.slots.recorder import Recorder
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.telemetry.metrics import WorkerMetrics
from tests.fixtures.redis import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_core.jobs import Step
    from agentpool_core.queue.completions import Completion
    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.durable.waits import WaitRules
    from agentpool_worker.handlers.app import App


def lease(kind: str = "work", payload: Any = None, *, number: int = 1, **fields: Any) -> Lease:
    """A lease with defaults for all fields that a test does not set."""
    values: dict[str, Any] = {
        "job_id": JobId(f"job-{number}"),
        "token": LeaseToken(1),
        "kind": kind,
        "route": "default",
        "priority": Priority.TASK,
        "payload": payload,
        "attempt": 1,
        "max_attempts": 5,
        "timeout_ms": 60_000,
        "enqueued_at_ms": 1_000,
        "claimed_at_ms": 1_005,
        "leased_at_ms": 1_005,
        **fields,
    }
    return Lease(**values)


def is_deadline(reported: str, *, since: datetime, timeout_ms: int) -> bool:
    """Whether the attempt's deadline, in UTC, is the timeout after a begin between `since` and now."""
    begun = datetime.fromisoformat(reported) - timedelta(milliseconds=timeout_ms)
    slack = timedelta(milliseconds=50)  # between the wall clock and the monotonic clock
    return begun.utcoffset() == timedelta(0) and since - slack <= begun <= datetime.now(UTC) + slack


class FakeQueue:
    """Gives leases in order, counts round trips, and can be away."""

    def __init__(self) -> None:
        self.ready: deque[Lease] = deque()
        self.settled: list[Completion] = []
        self.calls: list[tuple[str, int, int]] = []  # name, completions, limit
        self.away = False
        self.unreached = 0  # calls during an outage
        self.refuse: Callable[[Completion], Exception | None] = lambda _completion: None
        self.outcome: SettleOutcome | None = None
        self.saved: list[tuple[str, Any]] = []
        self.submitted: list[Any] = []
        self.chunks: list[tuple[int, str]] = []
        self.used: list[tuple[int, UsageReport]] = []
        self.reserved: list[int] = []  # billionths; negative: replaced by a report
        self.signals: dict[tuple[str, str, int], str] = {}  # job, name and number -> value
        self.steps_of: defaultdict[str, dict[int, Step]] = defaultdict(dict)
        self.during: Callable[[], None] = lambda: None  # called while a claim is under way

    async def claim(self, limit: int | Room) -> list[Lease]:
        self._called("claim", 0, limit)
        leases = self._take(limit)
        self.during()
        await asyncio.sleep(0)
        return leases

    async def settle(self, completions: Sequence[Completion]) -> list[SettleOutcome]:
        self._called("settle", len(completions), 0)
        return self._settle(completions)

    async def exchange(
        self, completions: Sequence[Completion], limit: int | Room
    ) -> tuple[list[SettleOutcome], list[Lease]]:
        self._called("exchange", len(completions), limit)
        outcomes = self._settle(completions)
        await asyncio.sleep(0)
        return outcomes, self._take(limit)

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        self.saved.append((lease.job_id, state))

    async def steps(self, lease: Lease) -> list[Step]:
        return list(self.steps_of[lease.job_id].values())

    async def record_steps(self, lease: Lease, steps: Sequence[Step]) -> None:
        self.calls.append(("steps", len(steps), 0))
        self.steps_of[lease.job_id].update({step.number: step for step in steps})

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        self.calls.append(("chunks", len(chunks), 0))
        self.chunks += [(first + number, chunk) for number, chunk in enumerate(chunks)]

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport], *, reserved: int = 0) -> None:
        self.reserved.append(-reserved)
        self.calls.append(("usage", len(reports), 0))
        self.used += [(first + number, report) for number, report in enumerate(reports)]

    async def charge(self, lease: Lease, number: int, cost: int) -> None:
        if cost > 2_000_000_000 and "any" in lease.kind:
            raise BudgetExceededError(budget="fake", cost=cost / 1e9, left=1, amount=2, next_window_ms=1000)
        self.reserved.append(cost)

    async def signal_value(self, lease: Lease, name: str, number: int) -> str | None:
        await asyncio.sleep(0)
        return self.signals.get((lease.job_id, name, number))

    async def start_children(self, requests: Sequence[Any]) -> None:
        self.submitted += requests

    async def child_ends(self, lease: Lease, group: str, size: int) -> list[Any]:
        raise NotImplementedError

    async def change_group(self, lease: Lease, change: Any, group: str, ids: Any, how: Any) -> Any:
        raise NotImplementedError

    async def progress(self, lease: Lease, value: Any) -> None:
        self.saved.append((f"progress of {lease.job_id}", value))

    async def submit(self, request: Any) -> Receipt:
        self.submitted.append(request)
        return Receipt(job_id=JobId("child"), state=JobState.QUEUED, duplicate=False, queue_depth=1)

    def _called(self, name: str, completions: int, limit: int) -> None:
        if self.away:
            self.unreached += 1
            raise QueueUnreachableError("away")
        self.calls.append((name, completions, limit))

    def _take(self, limit: int | Room) -> list[Lease]:
        slots = limit.slots if isinstance(limit, Room) else limit
        return [self.ready.popleft() for _ in range(min(slots, len(self.ready)))]

    def _settle(self, completions: Sequence[Completion]) -> list[SettleOutcome]:
        for completion in completions:
            if (error := self.refuse(completion)) is not None:
                raise error
        self.settled += completions
        return [self.outcome or _usual(completion) for completion in completions]


def _usual(completion: Completion) -> SettleOutcome:
    match completion:
        case Succeeded():
            return SettleOutcome.APPLIED
        case Failed(retry=True):
            return SettleOutcome.RETRYING
        case Failed():
            return SettleOutcome.DEAD
        case Returned():
            return SettleOutcome.RETURNED
        case Waiting():
            return SettleOutcome.WAITING
        case Cancelled():
            return SettleOutcome.CANCELLED


class Bench:
    """A claim loop, a completion buffer and running jobs around a fake queue: a worker without Redis."""

    def __init__(
        self, app: App, *, slots: int = 4, grace_seconds: float = 0.2, wait_rules: WaitRules | None = None
    ) -> None:
        self.queue = FakeQueue()
        self.slots = Slots(slots)
        self.metrics = WorkerMetrics(self.slots)
        self.claims = ClaimLoop(queue=self.queue, slots=self.slots, metrics=self.metrics)
        self.slots.on_free = self.claims.bell
        self.buffer = CompletionBuffer(signal=self.claims.signal, metrics=self.metrics)
        self.overloads = 0
        self.complaints: list[str] = []
        self.fitness = Fitness(unfit=self.complaints.append)
        self.running_jobs = RunningJobs(
            handlers=app,
            slots=self.slots,
            buffer=self.buffer,
            calls=self.queue,
            metrics=self.metrics,
            grace_seconds=grace_seconds,
            overloaded=self._overloaded,
            recorder=Recorder(time.monotonic),
            fitness=self.fitness,
            wait_rules=lambda: wait_rules,
        )
        self.claims.join(self.buffer, self.running_jobs)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.claims.run())
        self.claims.start_claiming()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.running_jobs.close()
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def submit(self, *leases: Lease) -> None:
        """The jobs become ready, and the bell rings."""
        self.queue.ready.extend(leases)
        self.claims.bell()

    async def settled(self, count: int) -> list[Completion]:
        """Return all completions, once there are at least `count`."""
        await wait_until(lambda: len(self.queue.settled) >= count, f"{count} completions are settled")
        return self.queue.settled

    def _overloaded(self) -> None:
        self.overloads += 1
