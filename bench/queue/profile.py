"""Profile of a job: `python -m bench.queue.profile` prints a table for each of our measures.

This process's share comes from Python's profiler, by author of the code; calls into C count for their caller. The
profiler does not include the event loop, and waiting for the server. The profiler makes Python slower, so read shares,
not times. The server's share comes from its own statistics: scripts, and the commands within them.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from agentpool_core.client import request_of
from bench.queue.contender import redis_server
from bench.queue.ours import SLOTS, Bench

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient

JOBS = 20_000
WRITERS = {  # part of a file's path -> author of the code; the first match counts
    "agentpool_worker": "worker",
    "agentpool_core/": "client and queue",
    "/redis/": "redis-py",
    "asyncio/streams.py": "asyncio: writing to the socket",
    "/asyncio/": "asyncio: the rest",
    "/json/": "JSON",
    "bench/": "this bench's handler and poll",
}


def by_writer(profile: cProfile.Profile) -> Mapping[str, float]:
    """Return the own seconds of the profiled calls, by author."""
    found: Counter[str] = Counter()
    stats: Any = pstats.Stats(profile)  # its fields ship without types
    for (file, _line, _name), (_calls, _primitive, own_s, *_) in stats.stats.items():
        writer = next((writer for part, writer in WRITERS.items() if part in file), "other Python")
        found[writer] += own_s
    return found


async def _server_s(redis: RedisClient) -> tuple[float, float]:
    """Return the server's seconds in scripts, and in commands within them."""
    stats = await redis.info("commandstats")
    spent = {name.removeprefix("cmdstat_"): values["usec"] / 1e6 for name, values in stats.items()}
    scripts = spent.pop("evalsha", 0.0) + spent.pop("eval", 0.0)
    waits = ("blpop", "info", "config|resetstat")
    return scripts, sum(seconds for name, seconds in spent.items() if name not in waits)


async def _phase(redis: RedisClient, name: str, jobs: int, work: Awaitable[Any]) -> str:
    await redis.config_resetstat()
    profile = cProfile.Profile(builtins=False)
    began = time.perf_counter()
    with profile:
        await work
    wall_s = time.perf_counter() - began
    found = dict(by_writer(profile))
    found["the event loop in C, and waiting"] = wall_s - sum(found.values())
    scripts_s, commands_s = await _server_s(redis)
    found |= {"server: commands in scripts": commands_s, "server: Lua": scripts_s - commands_s}
    rows = (
        f"| {writer} | {seconds / jobs * 1e6:.1f} | {seconds / wall_s:.0%} |"
        for writer, seconds in sorted(found.items(), key=lambda item: (item[0].startswith("server"), -item[1]))
    )
    title = f"{name}: {jobs} jobs, {wall_s / jobs * 1e6:.1f} µs each under the profiler"
    return "\n".join([title, "| code | µs a job | of the time |", "|---|---|---|", *rows])


async def profiled(url: str, jobs: int) -> list[str]:
    """Return a table for single submits, bulk submits and the drain."""
    bench = Bench(url, slots=SLOTS, jobs=jobs)
    await bench.hold()
    redis, singles = bench.redis, jobs // 10

    async def submit_each() -> None:
        for number in range(singles):
            await bench.client.submit("noop", {"n": number})

    await submit_each()  # loads the scripts
    tables = [await _phase(redis, "one by one submit", singles, submit_each())]
    requests = [request_of("noop", {"n": number}) for number in range(jobs)]
    tables.append(await _phase(redis, "bulk submit", jobs, bench.client.submit_many(requests)))
    total = jobs + 2 * singles
    async with bench.ready():
        tables.append(await _phase(redis, "drain", total, bench.drained_s(total)))
    return tables


def main() -> None:
    """Print the tables."""
    import uvloop

    with redis_server() as url:
        sys.stdout.write("\n\n".join(uvloop.run(profiled(url, JOBS))) + "\n")


if __name__ == "__main__":
    main()
