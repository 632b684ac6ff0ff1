"""A discrete-event simulation of a pool: jobs, slots, workers with a start-up time, and a sizing policy.

A single queue in order of arrival. Free slots are used in turn, like workers that wait on the bell, so work spreads
over all workers: the worst case for scale-in. A worker costs from its creation, start-up included, until the end; a
worker removed with running jobs drains first, and jobs that outlast the drain count as killed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.autoscale.jobs import Job, Workload

QUIET_SECONDS = 900.0  # after the last arrival, which count


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """Settings common to all policies."""

    startup_s: float  # seconds from a worker's creation to its first claim
    slots: int = 5  # jobs a worker runs at once
    max_workers: int = 20
    seed: int | None = None  # of the start-up times' variation; None = they do not vary
    quiet_s: float = QUIET_SECONDS
    drain_s: float = 300.0  # seconds for a removed worker to finish its jobs


@dataclass(slots=True, eq=False)
class Worker:
    """A worker."""

    number: int
    born: float
    ready_at: float
    running: int = 0
    cordoned: bool = False  # claims no more jobs before its removal
    draining: bool = False
    removed_at: float = 0.0


@dataclass(slots=True)
class State:
    """Inputs of a policy."""

    now: float
    setup: Setup
    waiting: deque[Job]
    workers: list[Worker]  # without draining workers
    submitted: int = 0
    started: int = 0
    finished: int = 0
    run_s: float = 0.0
    running: int = 0
    startups_s: list[float] = field(default_factory=list)  # of workers that became ready since the last look

    def ready(self) -> list[Worker]:
        """Return the workers that take jobs."""
        return [worker for worker in self.workers if worker.ready_at <= self.now]


class Policy(Protocol):
    """A sizing policy."""

    period_s: float  # seconds between looks
    woken: bool  # whether a job without a free slot triggers an early decision
    keep: int | None  # workers that continue to claim; None = not specified

    def size(self, state: State) -> int:
        """Return the workers desired now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Result of a run."""

    waits_s: list[float]  # of each job, in order of arrival
    worker_hours: float
    changes: int  # times the size was changed
    harmed: int  # jobs running on a worker at its removal
    killed: int  # of them, those that outlasted the drain
    sizes: list[tuple[float, int]]  # time of each change, and the new size


class Simulation:
    """A simulation run."""

    def __init__(self, workload: Workload, policy: Policy, setup: Setup) -> None:
        self._policy = policy
        self._setup = setup
        self._jobs = workload.jobs
        self._end = workload.span_s + setup.quiet_s
        self._state = State(now=0.0, setup=setup, waiting=deque(), workers=[])
        self._events: list[tuple[float, int, str, object]] = []
        self._order = 0
        self._turn: deque[Worker] = deque()  # workers that wait for a job, the longest first
        self._waits: list[float] = []
        self._cost_s = 0.0
        self._changes = self._harmed = self._killed = self._made = 0
        self._sizes: list[tuple[float, int]] = [(0.0, 0)]
        self._look_at = 0.0
        self._draw = random.Random(setup.seed)

    def run(self) -> Outcome:
        """Run to the end of the quiet period."""
        for job in self._jobs:
            self._push(job.at, "arrive", job)
        self._push(0.0, "look", self._look_at)
        while self._events:
            at, _, kind, what = heapq.heappop(self._events)
            if at > self._end:
                break
            self._state.now = at
            getattr(self, f"_{kind}")(what)
        for worker in self._state.workers:
            self._cost_s += self._end - worker.born
        return Outcome(
            waits_s=self._waits,
            worker_hours=self._cost_s / 3600.0,
            changes=self._changes,
            harmed=self._harmed,
            killed=self._killed,
            sizes=self._sizes,
        )

    def _push(self, at: float, kind: str, what: object) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, kind, what))

    def _arrive(self, job: Job) -> None:
        self._state.waiting.append(job)
        self._state.submitted += 1
        self._dispatch()
        if self._state.waiting and self._policy.woken and self._look_at > self._state.now + 0.1:
            self._look_at = self._state.now + 0.05
            self._push(self._look_at, "look", self._look_at)

    def _start(self, worker: Worker) -> None:
        if worker.draining:
            return
        if worker.cordoned:
            self._state.startups_s.append(self._state.now - worker.born)
            return
        self._state.startups_s.append(self._state.now - worker.born)
        self._turn.append(worker)
        self._dispatch()

    def _finish(self, what: tuple[Worker, Job]) -> None:
        worker, job = what
        state = self._state
        state.running -= 1
        state.finished += 1
        state.run_s += job.service_s
        worker.running -= 1
        if worker.draining:
            if state.now > worker.removed_at + self._setup.drain_s:
                self._killed += 1
            if worker.running == 0:
                self._cost_s += min(state.now, worker.removed_at + self._setup.drain_s) - worker.born
            return
        if worker.running == self._setup.slots - 1 and not worker.cordoned:
            self._turn.append(worker)
        self._dispatch()

    def _dispatch(self) -> None:
        state = self._state
        while state.waiting and self._turn:
            worker = self._turn.popleft()
            job = state.waiting.popleft()
            self._waits.append(state.now - job.at)
            worker.running += 1
            state.running += 1
            state.started += 1
            if worker.running < self._setup.slots:
                self._turn.append(worker)
            self._push(state.now + job.service_s, "finish", (worker, job))

    def _look(self, planned: float) -> None:
        if planned != self._look_at:
            return  # superseded by an earlier decision
        state = self._state
        wanted = max(0, min(self._policy.size(state), self._setup.max_workers))
        state.startups_s.clear()
        if self._policy.keep is not None:
            self._cordon(len(state.workers) - self._policy.keep)
        if wanted != len(state.workers):
            self._changes += 1
            self._resize(wanted)
            self._sizes.append((state.now, wanted))
        self._look_at = state.now + self._policy.period_s
        self._push(self._look_at, "look", self._look_at)

    def _cordon(self, count: int) -> None:
        """Cordon `count` workers, those with the least work; release the rest."""
        leaving = set(self._leaving(self._state.workers, max(0, count)))
        for worker in self._state.workers:
            if worker.cordoned and worker not in leaving and worker.ready_at <= self._state.now:
                self._turn.extend([worker] if worker.running < self._setup.slots else [])
            worker.cordoned = worker in leaving
        self._turn = deque(worker for worker in self._turn if not worker.cordoned)
        self._dispatch()

    def _resize(self, wanted: int) -> None:
        state = self._state
        while len(state.workers) < wanted:
            self._made += 1
            worker = Worker(number=self._made, born=state.now, ready_at=state.now + self._startup_s())
            state.workers.append(worker)
            self._push(worker.ready_at, "start", worker)
        surplus = len(state.workers) - wanted
        if surplus > 0:
            self._remove(self._leaving(state.workers, surplus))

    def _leaving(self, workers: Iterable[Worker], count: int) -> list[Worker]:
        """Choose workers to remove as a ReplicaSet does: starting workers first, then by running jobs."""
        return sorted(workers, key=lambda w: (w.ready_at <= self._state.now, w.running, -w.number))[:count]

    def _startup_s(self) -> float:
        """Return a start-up time: a tenth more or less."""
        return self._setup.startup_s * (1.0 if self._setup.seed is None else self._draw.uniform(0.9, 1.1))

    def _remove(self, leaving: list[Worker]) -> None:
        state = self._state
        gone = set(leaving)
        state.workers = [worker for worker in state.workers if worker not in gone]
        self._turn = deque(worker for worker in self._turn if worker not in gone)
        for worker in leaving:
            worker.draining, worker.removed_at = True, state.now
            self._harmed += worker.running
            if worker.running == 0:
                self._cost_s += state.now - worker.born
