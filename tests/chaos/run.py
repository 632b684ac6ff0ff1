"""A chaos run: start everything, submit, disturb, let the system settle, judge.

The next module is `report`, which prints the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentpool_core.errors import ClusterError, QueueError, UnknownJobError
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Budget, Inspector
from agentpool_core.queue.audit import audit
from agentpool_core.queue.chunks import START, Chunk, JobOutput
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.overrides import LARGEST_BUDGET, override
from agentpool_core.queue.usage import BILLION
from agentpool_devcluster.kube.errors import KubeError
from tests.chaos import checker
from tests.chaos.doors import GatewayDoor, QueueDoor
from tests.chaos.endurance import Endurance, Sample
from tests.chaos.faults import PAUSE_SECONDS, Faults
from tests.chaos.ground import BUDGET, ELASTIC, LIMITS, POOL, Ground
from tests.chaos.history import History
from tests.chaos.load import MOST_COST, SPENDER, Load
from tests.chaos.public_record import judge_publicly, lines_of
from tests.chaos.rollbacks import Rollback
from tests.fixtures.redis import leaked_keys, wait_until
from tests.specification.trace import Submitted, refusals

_log = logging.getLogger("chaos")

REST_WITHIN_SECONDS = 240.0  # after the last fault, for all jobs to end
ENDURANCE_RETENTION_SECONDS = 600  # ended jobs leave Redis, so the number of keys can be flat
WARM = 3  # workers, the maximum of all specs: after repeated bursts the operator keeps them for a while
SMALL_WITHIN_SECONDS = 45.0  # after the last job, until the end of the last worker


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of a run."""

    seed: int
    seconds: float  # of faults
    faults: dict[str, int]  # by kind
    jobs: dict[str, int]  # by terminal state
    acknowledged: int
    submits: int  # calls, repeated ones included
    refused: int  # of these, lost with their connection
    claims: int
    waits: int  # claims that ended because the job waits
    signals: int
    recovered: int  # jobs recovered from lost workers
    reruns: int  # jobs with more than one completed run
    longest_submit_s: float
    longest_submit_at: float  # seconds into the run
    longest_silence_s: float  # no job ended in this time, although jobs waited
    findings: tuple[str, ...]
    timeline: tuple[tuple[float, str], ...]
    samples: tuple[Sample, ...]  # of processes that are old enough, see `endurance`


async def run(seconds: float, seed: int, *, keep: Path | None = None, every_s: float | None = None) -> Outcome:
    """Run once, with files in a temporary directory (or in `keep`, which stays).

    `every_s`: a run for endurance, with seconds between two faults; ended jobs leave Redis soon.
    """
    with contextlib.ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ap-chaos-")))
        ground = Ground(directory, {} if every_s is None else {"retention": ENDURANCE_RETENTION_SECONDS})
        try:
            await ground.start()
            pause_s = PAUSE_SECONDS if every_s is None else (every_s, every_s)
            outcome = await _live(ground, seconds, seed, pause_s, samples=every_s is not None)
        finally:
            await ground.stop()
        left = [f"process {each} outlived the run" for each in ground.survivors()]
    return Outcome(**{**outcome, "findings": (*outcome["findings"], *left)})


async def _live(
    ground: Ground, seconds: float, seed: int, pause_s: tuple[float, float], *, samples: bool
) -> dict[str, object]:
    gateway = GatewayDoor(ground.gateway_url)
    load = Load((QueueDoor(ground.client), gateway), seed)
    history = History(ground.direct, POOL)
    rollbacks: list[Rollback] = []

    def rolled_back(rollback: Rollback) -> None:
        rollbacks.append(rollback)
        history.go_back(rollback.newest)
        load.ledger.go_back(rollback.since)

    faults = Faults(ground, seed, pause_s=pause_s, rolled_back=rolled_back)
    endurance = Endurance(ground)
    watching = endurance.watching() if samples else contextlib.nullcontext()
    stop = asyncio.Event()
    reading, submitting = asyncio.create_task(history.run()), asyncio.create_task(load.run(stop))
    try:
        async with watching:
            await faults.run(seconds)
    finally:
        _log.info("the faults are over: %s", dict(faults.injected))
        stop.set()
        await submitting
        await gateway.close()
    _log.info("%d submits are acknowledged", len(load.ledger.acknowledged))
    findings = await _asleep(ground)
    findings += checker.money(await _spent(ground), ground.runs(), BUDGET, LIMITS["text"] * MOST_COST, rollbacks)
    await override(ground.direct, POOL, "money", SPENDER, Budget(amount=LARGEST_BUDGET))
    await load.signal_all()
    findings += [*await _rest(ground), *await _small(ground)]
    _log.info("at rest and small again; judging")
    await end(reading)
    await history.catch_up()
    ledger, runs, events = load.ledger, ground.runs(), history.events
    findings += ledger.broken
    findings += checker.judge(
        acknowledged=ledger.acknowledged, cancelled=ledger.cancelled_at, events=events, runs=runs,
        limits={**LIMITS, "elastic": ELASTIC}, forgettable=ledger.forgettable, rollbacks=rollbacks,
        chunks=await _output(ground, ledger.acknowledged),
    )  # fmt: skip
    findings += await _second_opinion(ground, load, history)
    findings += refusals(events, {job: _submitted(each) for job, each in ledger.acknowledged.items()}, complete=False)
    return {
        "seed": seed,
        "seconds": seconds,
        "faults": dict(faults.injected),
        "jobs": dict(Counter(event.type for event in events if event.type in checker.TERMINAL)),
        "acknowledged": len(ledger.acknowledged),
        "submits": ledger.attempts,
        "refused": ledger.refusals,
        "claims": sum(event.type == "started" for event in events),
        "waits": sum(event.type == "waiting" for event in events),
        "signals": sum(event.type == "signalled" for event in events),
        "recovered": sum(event.type == "recovered" for event in events),
        "reruns": checker.duplicates(runs),
        "longest_submit_s": ledger.longest_submit_s,
        "longest_submit_at": ledger.longest_submit_at,
        "longest_silence_s": history.longest_silence_s(),
        "findings": findings,
        "timeline": tuple(faults.log),
        "samples": tuple(endurance.samples),
    }


def _submitted(request: JobRequest) -> Submitted:
    """Return what the specification asks of a submitter."""
    most = {} if request.max_attempts is None else {"most": request.max_attempts}
    return Submitted(after=tuple(map(str, request.after)), delayed=bool(request.delay_ms), **most)


async def _second_opinion(ground: Ground, load: Load, history: History) -> list[str]:
    """Return the findings of the judge that knows the public record only."""
    inspector, ledger = Inspector(ground.direct), load.ledger
    known = {event.job_id for event in history.events}
    jobs = []
    for job in known:
        with contextlib.suppress(UnknownJobError):
            jobs.append(await inspector.job(POOL, job))
    promised = [job for job in ledger.acknowledged if job not in ledger.forgettable]
    lines = lines_of(
        POOL, history.events, jobs, submitted={job: ledger.began_as.get(job, "") for job in promised},
        cancelled=[job for job in ledger.cancelled_at if job not in ledger.forgettable or job in known],
        limits={**LIMITS, "elastic": ELASTIC},
    )  # fmt: skip
    return await asyncio.to_thread(judge_publicly, ground.directory / "record.jsonl", lines)


async def _asleep(ground: Ground) -> list[str]:
    """Return whether all jobs but those that wait for late signals end, and these hold no slot."""
    inspector = Inspector(ground.direct)

    async def asleep() -> bool:
        with contextlib.suppress(QueueError):
            now = await inspector.snapshot(POOL)
            return not (now.queued or now.running or now.scheduled or now.due)
        return False

    try:
        await wait_until(asleep, "every job has ended or waits", within_s=REST_WITHIN_SECONDS)
    except AssertionError as error:
        return [f"{error}; still there: {await inspector.snapshot(POOL)}"]
    counters = await ground.direct.hgetall(Keys(POOL).counters)
    held = {name: count for name, count in counters.items() if name.startswith("r:") and count != "0"}
    found = [f"route {name} counts {count} jobs while all jobs wait" for name, count in held.items()]
    return found + [f"while all jobs wait: {each}" for each in await audit(ground.direct, POOL)]


async def _spent(ground: Ground) -> list[float]:
    """Return the money that the budget counts in each window."""
    prefix = Keys(POOL).prefix
    keys = [key async for key in ground.direct.scan_iter(match=f"{prefix}spent:money:*")]
    return [int(await ground.direct.get(key)) / BILLION for key in keys]


async def _output(ground: Ground, acknowledged: Mapping[str, JobRequest]) -> dict[str, list[Chunk]]:
    """Return the output of every agent that Redis has, also of one that has not ended, which is a finding."""
    inspector, output = Inspector(ground.direct), JobOutput(ground.direct, POOL)
    found: dict[str, list[Chunk]] = {}
    for job, request in acknowledged.items():
        if request.kind == "agent":
            with contextlib.suppress(UnknownJobError):
                await inspector.job(POOL, JobId(job))
                found[job] = [chunk async for chunk in output.after(JobId(job), START)]
    return found


async def _rest(ground: Ground) -> list[str]:
    """Return whether every job ends after the faults, with only ended jobs left in Redis."""
    inspector = Inspector(ground.direct)

    async def at_rest() -> bool:
        with contextlib.suppress(QueueError):
            now = await inspector.snapshot(POOL)
            return not (now.queued or now.held or now.running or now.scheduled or now.blocked or now.waiting)
        return False

    try:
        await wait_until(at_rest, "every job has ended", within_s=REST_WITHIN_SECONDS)
    except AssertionError as error:
        snapshot = await inspector.snapshot(POOL)
        return [f"{error}; still there: {snapshot}"]
    found = [f"key {key} has neither lifetime nor owner" for key in await leaked_keys(ground.direct, POOL)]
    async for stream in ground.direct.scan_iter(match=f"ap:{{{POOL}}}:s:*"):
        (group,) = await ground.direct.xinfo_groups(stream)
        if group["pending"] or group["lag"]:
            found.append(f"{stream} is not empty: {group['pending']} pending, lag {group['lag']}")
    return found


async def _small(ground: Ground) -> list[str]:
    """Return whether the pool settles at the desired size (one worker may stay warm), and at zero on request."""
    kept = await _until_size(ground, WARM, "no more than a warm worker is left")
    await ground.apply(replicas=0)
    gone = await _until_size(ground, 0, "no worker is left once none is wanted")
    if kept or gone:
        return [*kept, *gone]
    snapshot = await Inspector(ground.direct).snapshot(POOL)
    return [f"worker {worker.name} is still registered" for worker in snapshot.workers]


async def _until_size(ground: Ground, most: int, description: str) -> list[str]:
    """Return the difference between replicas, pods and processes that do not agree on at most this size in time."""

    async def small() -> bool:
        ground.note_processes()
        with contextlib.suppress(ClusterError, KubeError):
            sizes = set(await ground.size())
            return len(sizes) == 1 and max(sizes) <= most
        return False

    try:
        await wait_until(small, description, within_s=SMALL_WITHIN_SECONDS)
    except AssertionError as error:
        return [f"{error}; replicas, pods, processes: {await ground.size()}; operator: {await ground.operator_view()}"]
    return []
