"""The kill matrix: jobs of an adapter's example, on real workers that end by SIGKILL after and during each step.

A worker process serves two batches: it finishes the jobs of the last batch, which a kill has interrupted, and begins
the next batch, until the point at which it kills itself. So each job loses its worker once, and the jobs of every third
batch twice. `killed_app` runs in the worker, `__main__` prints the outcome.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from agentpool_core.jobs import Job, JobId, JobState, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from agentpool_core.submission import request_of
from tests.fixtures.model_server import load_example
from tests.fixtures.redis import wait_until

HERE = Path(__file__).parent
EXAMPLES_FOLDER = HERE.parents[1] / "examples"
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
    """What a matrix found."""

    runs: int = 0  # jobs that lost a worker
    kills: Counter[str] = field(default_factory=Counter)  # by kind
    points: set[str] = field(default_factory=set)  # at which workers were killed
    findings: list[str] = field(default_factory=list)  # committed steps that ran twice, lost jobs, wrong results


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
        self._calm: Job | None = None
        self.outcome = Outcome()

    async def run(self, runs: int) -> Outcome:
        """Kill workers until so many jobs have begun on a worker that was killed."""
        settings = PoolSettings(lease_ms=3_000, retry_initial_ms=20, retry_max_ms=50)
        await Inspector(self._redis).configure(self._pool, settings)
        try:
            points, pending, begun = self._points(), await self._submit("calm"), 0
            for number in itertools.count(1):
                last = begun >= runs
                pending = await self._life(number, next(points), pending, last=last)
                begun += len(pending)
                if last:
                    break
        finally:
            await self._redis.aclose()
        self._read_log()
        return self.outcome

    async def _life(self, number: int, point: tuple[str, str], pending: list[JobId], *, last: bool) -> list[JobId]:
        """Run a worker: it ends the pending jobs, and, unless it is the last, begins a batch and dies."""
        batch = f"b{number}-"
        async with self._worker((batch, *point)) as process:
            for job in await self._ends(pending):
                self._judge(job)
            if last:
                return []
            jobs = await self._submit(batch)
            await self._until_killed(process, jobs)
        for _ in range(number % 3 == 0):
            async with self._worker((batch, "random", "")) as process:
                await self._until_killed(process, jobs)
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

    async def _until_killed(self, process: subprocess.Popen[bytes], jobs: list[JobId]) -> None:
        """Wait for the kill, or for the end of all jobs, if no job reached the point."""

        async def over() -> bool:
            return process.poll() is not None or await self._all_ended(jobs)

        await wait_until(over, f"a kill of {self._example.path}", within_s=PATIENCE_SECONDS)

    async def _ends(self, jobs: list[JobId]) -> list[Job]:
        await wait_until(lambda: self._all_ended(jobs), f"the jobs {jobs} have ended", within_s=PATIENCE_SECONDS)
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
        self.outcome.runs += job.attempt > 1
        if (job.state, job.result) != (JobState.SUCCEEDED, expected.result):
            self.outcome.findings.append(f"{job.job_id}: {job.state.value}, {job.error or job.result}")
        names = sorted(step.name for step in job.steps)
        if names != sorted(step.name for step in expected.steps):
            self.outcome.findings.append(f"{job.job_id}: the steps {names}")

    def _read_log(self) -> None:
        for line in self._log.read_text().splitlines():
            entry = json.loads(line)
            if entry["what"] == "repeated":
                self.outcome.findings.append(f"{entry['job']}: {entry['step']} ran again")
            if entry["what"].startswith("killed "):
                kind = entry["what"].removeprefix("killed ")
                self.outcome.kills[kind] += 1
                self.outcome.points.add(f"{kind} {entry['step']}".strip())

    @property
    def _log(self) -> Path:
        return self._directory / f"{self._pool.name}.jsonl"

    def _spawn(self, command: list[str], environment: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env={**os.environ, **self._environment, **environment}, stdout=log, stderr=log)

    @asynccontextmanager
    async def _worker(self, point: tuple[str, str, str]) -> AsyncIterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "agentpool_core", "worker", "killed_app:app", "--redis", self._url]
        environment = {
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "AGENTPOOL_HTTP_HOST": "127.0.0.1",
            "AGENTPOOL_HTTP_PORT": "0",
            "AGENTPOOL_UPKEEP_SECONDS": "0.1",
            "KILLS_EXAMPLE": self._example.path,
            "KILLS_EXAMPLES": str(EXAMPLES_FOLDER),
            "KILLS_POINT": json.dumps([*point, self._times(*point)]),
            "KILLS_POOL": str(self._pool),
            "KILLS_REDIS": self._url,
            "KILLS_LOG": str(self._log),
        }
        with (self._directory / f"{self._pool.name}-{next(self._lives)}.log").open("wb") as log:
            process = self._spawn([*command, "--pool", str(self._pool)], environment, log)
        try:
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)


async def run(
    names: list[str], runs: int, url: str, directory: Path, *, jobs: int = 10, seed: int = 0, forget: bool = False
) -> dict[str, Outcome]:
    """Run the matrix of each example; `forget`: with workers that forget their steps, which must be found."""
    random.seed(seed)
    with load_example("model-server", "model_server").serving() as model_url:
        environment = {
            "OPENAI_BASE_URL": model_url,
            "OPENAI_API_KEY": "none",
            "TOOL_SECONDS": "0.02",
            "NODE_SECONDS": "0.02",
            **({"KILLS_FORGET": "1"} if forget else {}),
        }
        share = -(-runs // len(names))
        matrices = [Matrix(name, url, directory, jobs=jobs, environment=environment) for name in names]
        outcomes = await asyncio.gather(*(matrix.run(share) for matrix in matrices))
    return dict(zip(names, outcomes, strict=True))
