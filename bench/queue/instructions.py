"""Instructions of the server for a job: `python -m bench.queue.instructions [NAME …]`.

Times depend on the machine's other work, counts of instructions hardly do. They show neither caches nor the kernel. The
server runs under callgrind (Debian's package valgrind), which counts only during the calls of a case. Before a change
and after, compare the figures of the same case.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from agentpool_core.jobs import JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect
from agentpool_core.queue.completions import Succeeded
from bench.queue.contender import server_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_core.queue.connection.client import RedisClient

POOL = PoolRef("bench", "instructions")
BATCH = 100  # jobs that a call ends and starts
CALLS = 30
SINGLES = 500
LEASE_MS = 600_000  # callgrind takes fifty times as long
Counting: TypeAlias = Callable[[], AbstractContextManager[None]]
Case: TypeAlias = Callable[["RedisClient", Counting], Awaitable[int]]


async def _filled(redis: RedisClient, jobs: int, *, tenants: int = 0) -> Producer:
    await Inspector(redis).configure(POOL, PoolSettings(max_depth=2 * jobs, lease_ms=LEASE_MS))
    producer = Producer(redis, POOL)
    names: list[str | None] = [f"t{number}" for number in range(tenants)] or [None]
    await producer.submit_many(
        [JobRequest(kind="noop", payload={"n": number}, tenant=names[number % len(names)]) for number in range(jobs)]
    )
    return producer


async def _xadd(redis: RedisClient, counting: Counting) -> int:
    with counting():
        for number in range(SINGLES):
            await redis.xadd("raw", {"payload": f'{{"n":{number}}}'})
    return SINGLES


async def _submit(redis: RedisClient, counting: Counting) -> int:
    producer = await _filled(redis, SINGLES)
    with counting():
        for number in range(SINGLES - 1):
            await producer.submit(JobRequest(kind="noop", payload={"n": number}))
    return SINGLES - 1


def _claim(jobs: int) -> Case:
    async def case(redis: RedisClient, counting: Counting) -> int:
        await _filled(redis, jobs * (CALLS + 2))
        consumer = Consumer(redis, POOL, WorkerId("w"))
        await consumer.register(slots=jobs, host="h")
        await consumer.claim(jobs)
        with counting():
            return sum([len(await consumer.claim(jobs)) for _ in range(CALLS)])

    return case


def _drain(tenants: int) -> Case:
    async def case(redis: RedisClient, counting: Counting) -> int:
        await _filled(redis, BATCH * (CALLS + 2), tenants=tenants)
        consumer = Consumer(redis, POOL, WorkerId("w"))
        await consumer.register(slots=BATCH, host="h")
        leases = await consumer.claim(BATCH)
        with counting():
            for _ in range(CALLS):
                ends = [Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases]
                _, leases = await consumer.exchange(ends, BATCH)
        return BATCH * CALLS

    return case


CASES: dict[str, Case] = {
    "raw XADD": _xadd,
    "submit": _submit,
    "claim of 1": _claim(1),
    "claim of 10": _claim(10),
    "drain": _drain(0),
    "drain, 1 tenant": _drain(1),
    "drain, a tenant for each job": _drain(BATCH * (CALLS + 2)),
}


@contextmanager
def _counted(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let callgrind count inside the block."""
    control = ("callgrind_control", "-i")
    subprocess.run([*control, "on", str(server.pid)], check=True, capture_output=True)
    yield
    subprocess.run([*control, "off", str(server.pid)], check=True, capture_output=True)


@contextmanager
def _server(directory: Path) -> Iterator[tuple[str, Counting]]:
    """Yield the URL of a server under callgrind, and the context in which it counts. `directory/log`: its output."""
    callgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/counts")
    with server_in(directory, *callgrind) as (url, server):
        yield url, lambda: _counted(server)
        server.terminate()  # it writes its counts at an orderly end
        server.wait()


async def _run(case: Case, url: str, counting: Counting) -> int:
    redis = connect(url)
    jobs = await case(redis, counting)
    await redis.aclose()
    return jobs


def count(case: Case) -> int:
    """Return the server's instructions for a job of the case."""
    with tempfile.TemporaryDirectory(prefix="ap-count-") as name:
        with _server(Path(name)) as (url, counting):
            jobs = asyncio.run(_run(case, url, counting))
        counted = re.findall(r"Collected : (\d+)", Path(name, "log").read_text())
    return int(counted[-1]) // jobs


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        print(f"{name}: {count(CASES[name]):,}")
