"""Run a contender's measure in a separate process, against a fresh Redis.

A contender is a runnable module: `python -m MODULE MEASURE --redis URL --jobs N` prints a JSON object of figures on its
last line. The module takes over next.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import redis
import redis.asyncio

from agentpool_local.errors import MissingPartError
from agentpool_local.stack.redis_server import QUEUE_SETTINGS, find_server, free_port, server_environment
from bench.peers import node
from bench.peers.node import CHECKOUT, NODE_PEERS
from bench.report import CannotRunError, own_server

START_WITHIN_SECONDS = 20.0
RUN_WITHIN_SECONDS = 300.0
COUNT_SECONDS = 0.02
DONE = "bench:done"  # jobs that all processes of the bench of scale have ended
Figures: TypeAlias = Mapping[str, float]
Measure: TypeAlias = Callable[[str, int], Coroutine[Any, Any, Figures]]


@contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of a fresh server."""
    with tempfile.TemporaryDirectory(prefix="ap-bench-") as directory, server_in(Path(directory)) as (url, _):
        yield url


@contextmanager
def server_in(directory: Path, *wrapper: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield URL and process of a server without persistence, on loopback TCP, with the chart's settings for a queue.

    `directory/log`: its output. `wrapper`: a command that runs the server, such as valgrind's. Raises CannotRunError.
    """
    try:
        server = own_server() or find_server()
    except MissingPartError as error:
        raise CannotRunError(str(error)) from error
    port = free_port()
    command = [*wrapper, str(server), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    command += [part for name, value in QUEUE_SETTINGS.items() for part in (f"--{name}", value)]
    environment = {**os.environ, **server_environment()}
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            _await_ping(port)
            yield f"redis://127.0.0.1:{port}/0", process
        finally:
            process.kill()


def _await_ping(port: int) -> None:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise CannotRunError(f"the server did not start: {error}") from error
                time.sleep(0.02)
            else:
                return


async def server_us(client: Any) -> float:
    """Return the server's CPU time so far, in microseconds; `client`: any asyncio client of redis-py."""
    cpu = await client.info("cpu")
    return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6


async def count_done(url: str, done: Callable[[], int]) -> None:
    """Add what this process has done to the counter of all processes, again and again."""
    told = 0
    async with redis.asyncio.Redis.from_url(url) as client:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            now = done()
            await client.incrby(DONE, now - told)
            told = now


def run_contender(module: str, measure: str, *, redis_url: str, jobs: int, loop: str = "asyncio") -> Figures:
    """Return the figures of a measure, from a separate process. Raises CannotRunError if the process fails."""
    return _figures(
        f"{module} {measure}", contender_command(module, measure, redis_url=redis_url, jobs=jobs, loop=loop)
    )


def contender_command(module: str, measure: str, *, redis_url: str, jobs: int, loop: str) -> list[str]:
    """Return the command of a contender's measure."""
    return [sys.executable, "-m", module, measure, "--redis", redis_url, "--jobs", str(jobs), "--loop", loop]


def run_peer(peer: str, measure: str, *, redis_url: str, jobs: int) -> Figures:
    """Run the same with a peer. Raises CannotRunError also if the peer reports a failure of its own."""
    return _figures(f"{peer} {measure}", peer_command(peer, measure, redis_url=redis_url, jobs=jobs))


def peer_command(peer: str, measure: str, *, redis_url: str, jobs: int) -> list[str]:
    """Return the command of a peer's measure."""
    if peer in NODE_PEERS:
        return node.command(peer, measure, redis_url=redis_url, jobs=jobs)
    return [sys.executable, "-m", "bench.peers.measure", peer, measure, "--redis", redis_url, "--jobs", str(jobs)]


def _figures(what: str, command: list[str]) -> Figures:
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=RUN_WITHIN_SECONDS, check=False
    )
    if done.returncode != 0 or "Traceback" in done.stderr:
        raise CannotRunError(f"{what} failed: {done.stderr.strip()[-500:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def contender_main(measures: Mapping[str, Measure]) -> None:
    """Run the main program of a contender's module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=sorted(measures))
    parser.add_argument("--redis", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    work = measures[options.measure](options.redis, options.jobs)
    if options.loop == "uvloop":
        import uvloop

        figures = uvloop.run(work)
    else:
        figures = asyncio.run(work)
    print(json.dumps(figures))
