"""A run: the operator as a process in the environment of `ground`, from its first start to its last restart.

Times are measured outside the operator: from the start of its process or from a submit until a watch of Deployments
shows the new size.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from agentpool_core.jobs import JobId, JobRequest, PoolRef
from agentpool_core.queue import Producer, connect
from agentpool_core.queue.connection.client import RedisClient
from agentpool_local.stack.redis_server import start_redis
from bench.operator.ground import NAMESPACE, Api, ReadyPools, Sizes, api_server, furnish, name_of, operator, until

PAUSE_SECONDS = 0.2  # between two submits at most: they come at any moment of the operator's own round
SETTLE_SECONDS = 6.0  # without a write: longer than the status keeps figures back
STOP_WITHIN_SECONDS = 20.0
MIB = 2**20
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Number and kind of measurements."""

    pools: int
    windows: int = 5  # at rest
    window_s: float = 6.0  # seconds
    submits: int = 500  # of which five are beyond the p99
    restarts: int = 5


@dataclass(kw_only=True, slots=True)
class Measured:
    """Result of a run; a list has a value for each window, submit or restart."""

    pools: int
    first_decision_s: float = 0.0  # from the first start of the process to a pool's replicas
    all_ready_s: float = 0.0  # from there until every pool is Ready and has its Deployment
    restarts_s: list[float] = field(default_factory=list)  # from a start to the replicas of a job that came before
    latencies_s: list[float] = field(default_factory=list)  # from a submit to the Deployment's new size
    cpu_per_1000_s: list[float] = field(default_factory=list)  # for 1,000 decisions, at rest
    cpu_at_rest: list[float] = field(default_factory=list)  # cores
    memory_mib: list[float] = field(default_factory=list)  # resident
    writes_at_rest: list[float] = field(default_factory=list)  # a minute, renewals of the Lease left out


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    """Shared state of the steps of a run."""

    directory: Path
    redis: RedisClient
    sizes: Sizes
    ready: ReadyPools
    plan: Plan
    found: Measured
    tell: Tell


async def measured(plan: Plan, *, tell: Tell) -> Measured:
    """Build the environment, run the operator, and report progress."""
    async with _stage(plan, tell) as stage:
        async with _operator(stage) as (process, began):
            await _first_start(stage, began)
            await _settled(stage)
            await _at_rest(stage, psutil.Process(process.pid))
            draw = random.Random(1)
            chosen = draw.sample(range(1, plan.pools), min(plan.submits + plan.restarts, plan.pools - 1))
            submits, left = chosen[: -plan.restarts], chosen[-plan.restarts :]
            stage.tell(f"{plan.pools} pools: {len(submits)} submits to pools at rest")
            for number in submits:
                await asyncio.sleep(draw.uniform(0, PAUSE_SECONDS))
                stage.found.latencies_s.append(await _submitted(stage, name_of(number)))
        stage.tell(f"{plan.pools} pools: {len(left)} restarts")
        for number in left:
            await _restart(stage, name_of(number))
        return stage.found


@contextlib.asynccontextmanager
async def _stage(plan: Plan, tell: Tell) -> AsyncIterator[_Stage]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        redis = await start_redis(directory, lambda _part, _line: None)
        client = connect(redis.url)
        flags = ["--kubeconfig", str(directory / "kubeconfig"), "--record", str(directory / "requests")]
        server = await api_server(directory / "api.log", *flags)
        sizes, ready = Sizes(), ReadyPools()
        try:
            await until(lambda: _written(directory / "kubeconfig"), "the API server has started")
            async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as watches:
                api = Api(session, directory / "kubeconfig")
                tell(f"{plan.pools} pools: making nodes, pods and pools")
                await furnish(api, plan.pools, redis.url)
                pools = f"/apis/agentpool.dev/v1alpha1/namespaces/{NAMESPACE}/agentpools"
                deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
                follow = [watches.create_task(api.follow(deployments, sizes.see))]
                follow += [watches.create_task(api.follow(pools, ready.see))]
                found = Measured(pools=plan.pools)
                yield _Stage(
                    directory=directory, redis=client, sizes=sizes, ready=ready, plan=plan, found=found, tell=tell
                )
                for task in follow:
                    task.cancel()
        finally:
            server.kill()
            await server.wait()
            await client.aclose()
            await redis.child.stop(seconds=5)


@contextlib.asynccontextmanager
async def _operator(stage: _Stage) -> AsyncIterator[tuple[asyncio.subprocess.Process, float]]:
    """Yield the operator's process and its start time; stop it gently, so that its Lease is free."""
    flags = ["--kubeconfig", str(stage.directory / "kubeconfig"), "--health-host", "127.0.0.1", "--health-port", "0"]
    began = time.perf_counter()
    process = await operator(stage.directory / "operator.log", *flags)
    try:
        yield process, began
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _first_start(stage: _Stage, began: float) -> None:
    stage.tell(f"{stage.plan.pools} pools: first start")
    stage.found.first_decision_s = await stage.sizes.reached(name_of(0), 1) - began
    await until(lambda: len(stage.ready.names) == stage.plan.pools, "every pool is ready")
    stage.found.all_ready_s = time.perf_counter() - began


async def _restart(stage: _Stage, name: str) -> None:
    """Submit a job while no operator runs; the next operator scales its pool."""
    await _submit(stage, name)
    async with _operator(stage) as (_, began):
        stage.found.restarts_s.append(await stage.sizes.reached(name, 1) - began)


async def _submitted(stage: _Stage, name: str) -> float:
    """Return the time from just before a submit to an idle pool until its Deployment shows the new size."""
    begin = time.perf_counter()
    job = await _submit(stage, name)
    seen = await stage.sizes.reached(name, 1)
    await Producer(stage.redis, PoolRef(NAMESPACE, name)).cancel(job)  # keeps the pool idle for the next measurement
    return seen - begin


async def _submit(stage: _Stage, name: str) -> JobId:
    receipt = await Producer(stage.redis, PoolRef(NAMESPACE, name)).submit(JobRequest(kind="work", payload=None))
    return receipt.job_id


async def _settled(stage: _Stage) -> None:
    """Wait until nothing has been written for a while."""
    seen, since = -1, time.perf_counter()
    while time.perf_counter() - since < SETTLE_SECONDS:
        await asyncio.sleep(0.5)
        if (writes := _writes(stage.directory)) != seen:
            seen, since = writes, time.perf_counter()


async def _at_rest(stage: _Stage, process: psutil.Process) -> None:
    """Cost and writes while nothing changes, window by window."""
    port, found = _port(stage.directory / "operator.log"), stage.found
    stage.tell(f"{stage.plan.pools} pools: {stage.plan.windows} windows of {stage.plan.window_s:g} s at rest")
    for _ in range(stage.plan.windows):
        made, writes = await _decisions(port), _writes(stage.directory)
        spent, begin = sum(process.cpu_times()[:2]), time.perf_counter()
        await asyncio.sleep(stage.plan.window_s)
        past_s = time.perf_counter() - begin
        cost_s = sum(process.cpu_times()[:2]) - spent
        found.writes_at_rest.append(60 * (_writes(stage.directory) - writes) / past_s)
        found.cpu_per_1000_s.append(1000 * cost_s / max(1.0, await _decisions(port) - made))
        found.cpu_at_rest.append(cost_s / past_s)
        found.memory_mib.append(process.memory_info().rss / MIB)


def _written(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _port(log: Path) -> int:
    text = log.read_text(encoding="utf-8")
    found = re.search(r"on port (\d+)", text)
    if found is None:
        raise RuntimeError(f"the operator did not say its port: {text}")
    return int(found[1])


async def _decisions(port: int) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(r"^agentpool_operator_decisions_total (\S+)$", await answer.text(), re.MULTILINE)
        return float(found[1]) if found else 0.0


def _writes(directory: Path) -> int:
    """Return the number of writes sent to the API server so far, without the Lease."""
    requests = map(json.loads, (directory / "requests").read_text(encoding="utf-8").splitlines())
    return sum(r["verb"] not in {"get", "list", "watch"} and r["resource"] != "leases" for r in requests)
