"""The kill matrix: jobs of an adapter's example, on real workers that end by SIGKILL after and during each step.

A worker process serves two batches: it finishes the jobs of the last batch, which a kill has interrupted, and begins
the next batch, until the point at which it kills itself. So each job loses its worker once, and the jobs of every third
batch twice. Most workers have the name of their predecessor, and release its jobs at once, as after the restart of a
container; every fifth has a new name, and takes the jobs after their lease. `zygote` forks the workers, `killed_app`
runs in them, `__main__` prints the outcome.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentpool_core.jobs import Job, JobId, JobState, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from agentpool_core.submission import request_of
from tests.fixtures.model_server import load_example
from tests.fixtures.redis import wait_until
from tests.kills.zygote import Fork, Zygote

EXAMPLES_FOLDER = Path(__file__).parents[2] / "examples"
NEW_NAME_EVERY = 5  # lives
PATIENCE_SECONDS = 300.0  # machines that test are busy


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """An example to kill."""

    path: str  # folder and module
    kind: str
    payload: Any
    steps: tuple[str, ...]  # at which workers are killed
    signal: str | None = None  # that its jobs wait for


AGENT = ("model", "tool search call-0", "model#2", "tool read call-1", "model#3")
EXAMPLES = {
    "pydantic-ai": Example(
        path="pydantic-agent/writer",
        kind="article",
        payload={"topic": "queues", "tool_seconds": 0.02},
        steps=(*AGENT, "~wait:approval", "publish"),
        signal="approval",
    ),
    "openai": Example(path="openai-client/support", kind="support", payload={"question": "Where?"}, steps=AGENT),
    "openai-agents": Example(
        path="openai-agents/researcher", kind="research", payload={"question": "How?"}, steps=AGENT
    ),
    "langgraph": Example(
        path="langgraph-agent/editor",
        kind="edit",
        payload={"topic": "queues"},
        steps=(
            "node plan", "node search", "node search#2", "node write", "node review", "~state:graph", "graph",
            "~wait:approval", "node publish", "graph#2",
        ),
        signal="approval",
    ),
}  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Outcome:
    """The kills of an example, and the faults that the matrix found."""

    jobs: int = 0  # that lost a worker
    kills: Counter[str] = field(default_factory=Counter)  # of workers, by kind
    points: set[str] = field(default_factory=set)  # at which workers were killed
    repeated: list[str] = field(default_factory=list)  # steps that were stored and ran again
    lost: list[str] = field(default_factory=list)  # jobs that did not succeed
    different: list[str] = field(default_factory=list)  # results or steps that differ from the undisturbed job's

    @property
    def findings(self) -> list[str]:
        """All faults."""
        return [*self.repeated, *self.lost, *self.different]


class Matrix:
    """The kills of one example, on a pool of its own."""

    def __init__(self, name: str, url: str, directory: Path, *, jobs: int, environment: Mapping[str, str]) -> None:
        self._example = EXAMPLES[name]
        self._url = url
        self._directory = directory
        self._jobs = jobs  # of a batch
        self._environment = environment
        self._pool = PoolRef.parse(f"kills-{secrets.token_hex(4)}/{name}")
        self._redis = connect(url)
        self._lives = itertools.count(1)
        self._killed = 0  # workers
        self._calm: Job | None = None
        self.outcome = Outcome()

    async def run(self, kills: int) -> Outcome:
        """Kill this many workers, and one more where the last batch loses two."""
        settings = PoolSettings(lease_ms=1_000, retry_initial_ms=20, retry_max_ms=50)
        await Inspector(self._redis).configure(self._pool, settings)
        self._zygote = await Zygote.start(
            self._environment | self._shared(), self._directory / f"{self._pool.name}.log"
        )
        try:
            points, pending, last = self._points(), await self._submit("calm"), False
            for number in itertools.count(1):
                last = self._killed >= kills
                pending = await self._life(number, next(points), pending, last=last)
                if last:
                    break
        finally:
            await self._zygote.close()
            await self._redis.aclose()
        self._read_log()
        return self.outcome

    async def _life(self, number: int, point: tuple[str, str], pending: list[JobId], *, last: bool) -> list[JobId]:
        """Run a worker: it ends the pending jobs, and, unless it is the last, begins a batch and dies."""
        batch = f"b{number}-"
        async with self._worker((batch, *point)) as fork:
            for job in await self._ends(fork, pending):
                self._judge(job)
            if last:
                return []
            jobs = await self._submit(batch)
            await self._until_killed(fork, jobs)
        for _ in range(number % 3 == 0):
            async with self._worker((batch, "random", "")) as fork:
                await self._until_killed(fork, jobs)
        return jobs

    def _points(self) -> Iterator[tuple[str, str]]:
        """Return kinds and steps of kills, in any order, again and again."""
        kinds = [(kind, step) for step in self._example.steps for kind in ("after", "during", "random")]
        no_function = {step for step in self._example.steps if step.startswith("~") or step == "node search#2"}
        points = [(kind, step) for kind, step in kinds if kind != "during" or step not in no_function]
        return itertools.cycle(random.sample(points, len(points)))

    def _times(self, _batch: str, kind: str, step: str) -> int:
        """Return how often jobs reach the point before the kill; a point at random is the beginning of any step."""
        passes = self._jobs * (len(self._example.steps) if kind == "random" and step else 1)
        return random.randint(1, max(1, passes * 2 // 3))

    async def _submit(self, batch: str) -> list[JobId]:
        producer = Producer(self._redis, self._pool)
        jobs = []
        for number in range(self._jobs):
            options = {"job_id": f"{batch}{number}"}
            request = request_of(self._example.kind, self._example.payload, **options)
            jobs.append((await producer.submit(request)).job_id)
            if self._example.signal is not None and number % 2:
                await self._signal(jobs[-1])  # before the job waits
        return jobs

    async def _signal(self, job_id: JobId) -> None:
        assert self._example.signal is not None
        await Producer(self._redis, self._pool).signal(
            job_id, self._example.signal, {"approved": True}, signal_id="once"
        )

    async def _until_killed(self, fork: Fork, jobs: list[JobId]) -> None:
        """Wait for the kill, or for the end of all jobs, if no job reached the point."""

        async def over() -> bool:
            return fork.ended or await self._all_ended(jobs)

        await wait_until(over, f"a kill of {self._example.path}", within_s=PATIENCE_SECONDS)
        self._killed += fork.ended

    async def _ends(self, fork: Fork, jobs: list[JobId]) -> list[Job]:
        async def over() -> bool:
            assert not fork.ended, f"a worker of {self._example.path} ended by itself: {self._directory} has its log"
            return await self._all_ended(jobs)

        await wait_until(over, f"the jobs {jobs} have ended", within_s=PATIENCE_SECONDS)
        return [await Inspector(self._redis).job(self._pool, job_id) for job_id in jobs]

    async def _all_ended(self, jobs: list[JobId]) -> bool:
        records = [await Inspector(self._redis).job(self._pool, job_id) for job_id in jobs]
        for record in records:
            if record.state is JobState.WAITING:
                await self._signal(record.job_id)
        return all(record.state.terminal for record in records)

    def _judge(self, job: Job) -> None:
        """Compare a job with the first job, which no kill has disturbed."""
        expected = self._calm = self._calm or job
        self.outcome.jobs += job.attempt > 1
        if job.state is not JobState.SUCCEEDED:
            self.outcome.lost.append(f"{job.job_id}: {job.state.value}, {job.last_error}")
        elif job.result != expected.result:
            self.outcome.different.append(f"{job.job_id}: the result {job.result}")
        names = sorted(step.name for step in job.steps)
        if names != sorted(step.name for step in expected.steps):
            self.outcome.different.append(f"{job.job_id}: the steps {names}")

    def _read_log(self) -> None:
        for line in self._log.read_text().splitlines():
            entry = json.loads(line)
            if entry["what"] == "repeated":
                self.outcome.repeated.append(f"{entry['job']}: {entry['step']} ran again")
            if entry["what"].startswith("killed "):
                kind = entry["what"].removeprefix("killed ")
                self.outcome.kills[kind] += 1
                self.outcome.points.add(f"{kind} {entry['step']}".strip())

    @property
    def _log(self) -> Path:
        return self._directory / f"{self._pool.name}.jsonl"

    def _shared(self) -> dict[str, str]:
        """Return the environment of all workers."""
        return {
            "AGENTPOOL_HTTP_HOST": "127.0.0.1",
            "AGENTPOOL_HTTP_PORT": "0",
            "AGENTPOOL_UPKEEP_SECONDS": "0.1",
            "KILLS_EXAMPLE": self._example.path,
            "KILLS_EXAMPLES": str(EXAMPLES_FOLDER),
            "KILLS_POOL": str(self._pool),
            "KILLS_REDIS": self._url,
            "KILLS_LOG": str(self._log),
        }

    @asynccontextmanager
    async def _worker(self, point: tuple[str, str, str]) -> AsyncIterator[Fork]:
        life = next(self._lives)
        environment = {
            "AGENTPOOL_WORKER": f"worker-{life // NEW_NAME_EVERY}",
            "KILLS_POINT": json.dumps([*point, self._times(*point)]),
        }
        arguments = ["worker", "tests.kills.killed_app:app", "--redis", self._url, "--pool", str(self._pool)]
        fork = await self._zygote.fork(arguments, environment, self._directory / f"{self._pool.name}-{life}.log")
        try:
            yield fork
        finally:
            await fork.stop()


async def run(
    names: list[str], kills: int, url: str, directory: Path, *, jobs: int = 1, seed: int = 0, forget: bool = False
) -> dict[str, Outcome]:
    """Kill that many workers of the examples; `forget`: workers that forget their steps, which must be found."""
    random.seed(seed)
    with load_example("model-server", "model_server").serving() as model_url:
        environment = {
            "OPENAI_BASE_URL": model_url,
            "OPENAI_API_KEY": "none",
            "TOOL_SECONDS": "0.02",
            "NODE_SECONDS": "0.02",
            **({"KILLS_FORGET": "1"} if forget else {}),
        }
        share = -(-kills // len(names))
        matrices = [Matrix(name, url, directory, jobs=jobs, environment=environment) for name in names]
        outcomes = await asyncio.gather(*(matrix.run(share) for matrix in matrices))
    return dict(zip(names, outcomes, strict=True))
