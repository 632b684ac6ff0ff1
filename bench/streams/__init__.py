"""Streams of tokens under kills: every acknowledged token is read once and in order, for each run of a handler.

200 jobs emit 50 tokens a second each, and each has a reader over HTTP. Meanwhile a worker or the gateway is killed
every few seconds. A job lasts ten seconds and is followed by the next, so that no job is lost twice with its worker:
such a job would run alone (quarantine). `verdict` counts the faults.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings
from bench.report import Figure, Report, quick
from bench.stage import POOL, stage
from bench.streams.system import Gateway, Reader, gateway_of, kill_in_turn
from bench.streams.verdict import faults
from bench.token_ledger import TokenLedger

if TYPE_CHECKING:
    from bench.stage import Stage

NAME = "streams"
WORKERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of a run."""

    readers: int = 200  # and as many jobs at once
    a_second: float = 50.0  # tokens of a job
    parts: int = 10  # steps of a job, of a second each
    seconds: float = 120.0
    kill_every_s: float = 6.0


QUICK = Plan(readers=20, parts=3, seconds=20.0, kill_every_s=4.0)


@dataclass(slots=True)
class Outcome:
    """Everything that was read, and the faults."""

    jobs: int = 0
    ended: int = 0
    tokens: int = 0
    breaks: int = 0
    reruns: int = 0
    worker_kills: int = 0
    gateway_kills: int = 0
    took_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    live_delays_s: list[float] = field(default_factory=list)  # of tokens that were emitted while the reader listened
    faults: Counter[str] = field(default_factory=Counter)


async def run() -> Report:
    """Run once, and judge each stream."""
    plan = QUICK if quick() else Plan()
    return report(plan, await outcome_of(plan))


async def outcome_of(plan: Plan) -> Outcome:
    """Run the plan."""
    slots = -(-plan.readers // (WORKERS - 1))  # one worker may be away
    settings = PoolSettings(concurrency=slots, lease_ms=3_000, retry_initial_ms=10, retry_max_ms=100)
    async with stage(settings) as place, place.workers(WORKERS, "--log-level", "error"), gateway_of(place) as gateway:
        return await _disturbed(plan, place, gateway)


async def _disturbed(plan: Plan, place: Stage, gateway: Gateway) -> Outcome:
    found, begun = Outcome(), time.monotonic()
    path = place.directory / "ledger"
    ledger = TokenLedger.create(path, plan.readers * int(plan.seconds + plan.parts + 1))
    timeout = aiohttp.ClientTimeout(total=None, sock_read=20, sock_connect=5)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers={"Authorization": f"Bearer {gateway.token}"}
    ) as session:

        async def lane() -> None:
            while time.monotonic() < begun + plan.seconds:
                job = found.jobs
                found.jobs += 1
                payload = {
                    "job": job, "parts": plan.parts, "tokens": int(plan.a_second), "pace": 1 / plan.a_second,
                    "ledger": str(path),
                }  # fmt: skip
                receipt = await place.producer.submit(JobRequest(kind="stream", payload=payload, max_attempts=20))
                reader = Reader(session, gateway, receipt.job_id)
                await reader.follow()
                record = await place.inspector.job(POOL, receipt.job_id)
                _judge(found, reader, ledger.acknowledged(job), plan, ended=record.state.value == "succeeded")

        killing = asyncio.create_task(kill_in_turn(gateway, place.pids, plan.kill_every_s, plan.seconds))
        await asyncio.gather(*(lane() for _ in range(plan.readers)))
        found.worker_kills, found.gateway_kills = await killing
    found.took_s = time.monotonic() - begun
    ledger.close()
    return found


def _judge(found: Outcome, reader: Reader, acknowledged: dict[int, int], plan: Plan, *, ended: bool) -> None:
    tokens = reader.tokens
    found.ended += ended
    found.tokens += len(tokens)
    found.breaks += reader.breaks
    found.reruns += len({token.run for token in tokens}) > 1
    found.delays_s += [token.delay_s for token in tokens]
    found.live_delays_s += [token.delay_s for token in tokens if token.live]
    found.faults += faults(tokens, acknowledged, parts=plan.parts, tokens=int(plan.a_second), ended=ended)


def report(plan: Plan, found: Outcome) -> Report:
    """Return the report of a run."""
    cuts, live = (statistics.quantiles(delays, n=1000) for delays in (found.delays_s, found.live_delays_s))
    figures = {
        "jobs": (found.jobs, ""),
        "jobs continued by a different worker": (found.reruns, ""),
        "kills of a worker": (found.worker_kills, ""),
        "kills of the gateway": (found.gateway_kills, ""),
        "connections of readers that broke": (found.breaks, ""),
        "tokens read": (found.tokens, ""),
        "tokens a second": (found.tokens / found.took_s, "1/s"),
        "delay of a token, p50": (cuts[499] * 1000, "ms"),
        "delay of a token, p99": (cuts[989] * 1000, "ms"),
        "delay of a token while its reader was connected, p50": (live[499] * 1000, "ms"),
        "delay of a token while its reader was connected, p99": (live[989] * 1000, "ms"),
        **{f"tokens {fault}": (found.faults[fault], "") for fault in ("lost", "doubled", "out of order")},
    }
    faulty = sum(found.faults.values())
    return Report(
        name=NAME,
        figures={name: Figure(unit=unit, runs=(float(value),)) for name, (value, unit) in figures.items()},
        ratios={
            "tokens read once and in order / tokens": 1 - faulty / max(1, found.tokens),
            "jobs that succeeded / jobs": found.ended / max(1, found.jobs),
            "tokens a second, read / asked for": found.tokens / found.took_s / (plan.readers * plan.a_second),
        },
        required={"tokens read once and in order / tokens": 1.0, "jobs that succeeded / jobs": 1.0},
        notes=[
            f"{plan.readers} jobs at once, {plan.a_second:g} tokens/s each, each with a reader over HTTP",
            f"one of {WORKERS} workers or the gateway is killed every {plan.kill_every_s:g} s, for {plan.seconds:g} s",
            "the delay is from just before the emit to the reader, through the kills; everything shares the processors",
        ],
    )
