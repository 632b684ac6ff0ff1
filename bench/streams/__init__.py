"""Streams of tokens under kills: every acknowledged token is read once and in order, for each run of a handler.

200 jobs emit 50 tokens a second each, and each has a reader over HTTP. After a calm phase a worker or the gateway is
killed every few seconds. A job lasts ten seconds and is followed by the next, so that no job is lost twice with its
worker: such a job would run alone (quarantine). `verdict` counts the faults after the run.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings
from bench.gateway import Gateway, gateway_of
from bench.report import Figure, Report, quick
from bench.stage import POOL, stage
from bench.streams.reading import Reader
from bench.streams.system import kill_in_turn, processor_seconds
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
    ramp_s: float = 5.0  # not measured: all jobs start at once
    calm_s: float = 30.0  # without kills, after the ramp
    killing_s: float = 120.0
    kill_every_s: float = 6.0

    @property
    def seconds(self) -> float:
        """From the first job until no further job is submitted."""
        return self.ramp_s + self.calm_s + self.killing_s


QUICK = Plan(readers=20, parts=3, ramp_s=3.0, calm_s=6.0, killing_s=16.0, kill_every_s=4.0)


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
    began: float = 0.0  # time of `time.monotonic()`
    killing_tokens: int = 0  # read from the end of the calm phase until the end of the submits
    processor_s: dict[str, float] = field(default_factory=dict)  # of each part, in the calm phase
    calm_delays_s: list[float] = field(default_factory=list)
    killing_delays_s: list[float] = field(default_factory=list)
    live_delays_s: list[float] = field(default_factory=list)  # of these, tokens emitted while the reader listened
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
    found = Outcome(began=time.monotonic())
    path = place.directory / "ledger"
    ledger = TokenLedger.create(path, plan.readers * int(plan.seconds + plan.parts + 1))
    ends: list[tuple[int, Reader, bool]] = []

    async def lane() -> None:
        while time.monotonic() < found.began + plan.seconds:
            job = found.jobs
            found.jobs += 1
            payload = {
                "job": job, "parts": plan.parts, "tokens": int(plan.a_second), "pace": 1 / plan.a_second,
                "ledger": str(path),
            }  # fmt: skip
            receipt = await place.producer.submit(JobRequest(kind="stream", payload=payload, max_attempts=20))
            reader = Reader(gateway, receipt.job_id)
            await reader.follow()
            record = await place.inspector.job(POOL, receipt.job_id)
            ends.append((job, reader, record.state.value == "succeeded"))

    disturbing = asyncio.create_task(_disturb(plan, found, place, gateway))
    await asyncio.gather(*(lane() for _ in range(plan.readers)))
    await disturbing
    for job, reader, ended in ends:
        _judge(found, reader, ledger.acknowledged(job), plan, ended=ended)
    ledger.close()
    return found


async def _disturb(plan: Plan, found: Outcome, place: Stage, gateway: Gateway) -> None:
    """Measure the processor time of the calm phase, then kill."""
    await asyncio.sleep(plan.ramp_s)
    before = await processor_seconds(place, gateway)
    await asyncio.sleep(plan.calm_s)
    after = await processor_seconds(place, gateway)
    found.processor_s = {part: after[part] - before[part] for part in after}
    found.worker_kills, found.gateway_kills = await kill_in_turn(gateway, place.pids, plan.kill_every_s, plan.killing_s)


def _judge(found: Outcome, reader: Reader, acknowledged: dict[int, int], plan: Plan, *, ended: bool) -> None:
    tokens = list(reader.tokens())
    calm = found.began + plan.ramp_s
    killing = calm + plan.calm_s
    found.ended += ended
    found.tokens += len(tokens)
    found.breaks += reader.breaks
    found.reruns += len({token.run for token in tokens}) > 1
    found.killing_tokens += sum(killing <= token.at < killing + plan.killing_s for token in tokens)
    found.calm_delays_s += [token.delay_s for token in tokens if calm <= token.at < killing]
    found.killing_delays_s += [token.delay_s for token in tokens if token.at >= killing]
    found.live_delays_s += [token.delay_s for token in tokens if token.at >= killing and token.live]
    found.faults += faults(tokens, acknowledged, parts=plan.parts, tokens=int(plan.a_second), ended=ended)


def report(plan: Plan, found: Outcome) -> Report:
    """Return the report of a run."""
    calm_rate = len(found.calm_delays_s) / plan.calm_s
    figures = {
        "jobs": (found.jobs, ""),
        "jobs continued by a different worker": (found.reruns, ""),
        "kills of a worker": (found.worker_kills, ""),
        "kills of the gateway": (found.gateway_kills, ""),
        "connections of readers that broke": (found.breaks, ""),
        "tokens read": (found.tokens, ""),
        **{f"tokens {fault}": (found.faults[fault], "") for fault in ("lost", "doubled", "out of order")},
        "tokens a second without kills": (calm_rate, "1/s"),
        "tokens a second with kills": (found.killing_tokens / plan.killing_s, "1/s"),
        **_delays("without kills", found.calm_delays_s),
        **_delays("with kills", found.killing_delays_s),
        **_delays("with kills, while its reader was connected", found.live_delays_s),
        **{
            f"processor time of a token: {part}": (seconds / len(found.calm_delays_s) * 1e6, "us")
            for part, seconds in found.processor_s.items()
        },
    }
    return Report(
        name=NAME,
        figures={name: Figure(unit=unit, runs=(float(value),)) for name, (value, unit) in figures.items()},
        ratios={
            "tokens read once and in order / tokens": 1 - sum(found.faults.values()) / max(1, found.tokens),
            "jobs that succeeded / jobs": found.ended / max(1, found.jobs),
            "tokens a second without kills / asked for": calm_rate / (plan.readers * plan.a_second),
        },
        required={
            "tokens read once and in order / tokens": 1.0,
            "jobs that succeeded / jobs": 1.0,
            "tokens a second without kills / asked for": 0.99,
        },
        notes=[
            f"{plan.readers} jobs at once, {plan.a_second:g} tokens/s each, each with a reader over HTTP",
            f"{plan.calm_s:g} s without kills, then {plan.killing_s:g} s with kills",
            f"every {plan.kill_every_s:g} s a kill ends one of {WORKERS} workers or the gateway, in turn",
            "a killed worker's jobs rest until their lease of 3 s has ended, so fewer tokens are emitted with kills",
            "the delay is from just before the emit to the reader, through the kills; everything shares the processors",
        ],
    )


def _delays(when: str, delays_s: list[float]) -> dict[str, tuple[float, str]]:
    cuts = statistics.quantiles(delays_s, n=1000)
    return {f"delay of a token {when}, p{per}": (cuts[10 * per - 1] * 1000, "ms") for per in (50, 99)}
