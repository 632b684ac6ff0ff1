"""Number of workers worth keeping warm, learned from the gaps between bursts.

For every number of workers a shadow queue computes which of the arriving jobs would start late with just that many
workers (a fluid model: arrivals, and departures at the observed service time). A worker is *needed* when one worker
fewer would make at least one job late. Whether to keep it until its next use is the ski-rental problem: keeping it
costs its idle seconds, removing it costs its next start-up and the waiting of the jobs that it would have served
meanwhile. The hold time minimises that cost over the observed gaps (https://en.wikipedia.org/wiki/Ski_rental_problem).
Before enough gaps were observed, a worker that served a short burst stays for the HPA's default window.
`reaction` handles the present backlog, `headroom` the steady load; `assessment` takes the largest.

Sources of the constants: `PRICE` follows from the cost of `headroom`, `(wait + target) x hours`, with hours of three
times the target for each job. `MARGIN` halves the target wait, because the mean service time of a burst may be twice
that of the hour. `LATE_JOBS` is a single job, the minimum. `UNSURE_HOLD_SECONDS` is the default of the HPA's
`--horizontal-pod-autoscaler-downscale-stabilization`. `SURE_AFTER` is the smallest number of gaps that outvotes a
single outlier. `SLACK` allows a gap that is a fifth longer than a past one. `python -m bench autoscale` prints the
results at half and at double of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PRICE = 3.0  # idle slot time, in target waits, that is worth a wait that is e times as long
MARGIN = 0.5  # of the target wait that the mean may use up
LATE_JOBS = 1.0  # jobs: a worker is not needed for less than a whole late job
UNSURE_HOLD_SECONDS = 300.0  # while too few gaps are known: the HPA's default window
SURE_AFTER = 3  # gaps
SAMPLES = 20  # gaps and bursts that are remembered for each level
SLACK = 1.2  # times a past gap: the next may be longer
LEVELS = 64  # workers beyond which nothing is kept warm: the shadow of each costs a little


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Figures of the k-th worker."""

    in_system: float = 0.0  # jobs in the shadow queue that k workers serve
    needed_at: float | None = None  # seconds: last time of need; None = never
    burst_at: float = 0.0  # seconds: start of the burst that last needed the worker
    avoided: tuple[float, ...] = ()  # jobs of each burst that would have waited for the start-up
    gaps: tuple[float, ...] = ()  # seconds between the bursts that needed the worker


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowQueues:
    """The shadow queues by number of workers, from the first worker."""

    at: float | None = None  # seconds: the last look
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Input of an observation."""

    now: float  # seconds
    arrived: int  # jobs since the last look
    service_s: float  # seconds that a job runs
    startup_s: float  # seconds that a worker takes to start
    target_s: float  # seconds that a job should wait at most
    slots: float  # jobs that a worker runs at once
    most: int  # workers


def observe_gap(before: ShadowQueues, load: Load) -> ShadowQueues:
    """Return the shadow queues after a further observation."""
    past_s = 0.0 if before.at is None else load.now - before.at
    most = min(load.most, LEVELS)
    levels: list[Level] = []
    late_below = float(load.arrived)  # with no worker at all, every job is late
    for number in range(1, most + 1):
        level = _level(before, number)
        late = _late(level, number, load)
        if late_below >= LATE_JOBS and load.arrived:
            level = _note_need(level, late_below - late, load)
        levels.append(replace(level, in_system=_drain(level.in_system + load.arrived, number, past_s, load)))
        if number >= len(before.levels) and late < LATE_JOBS:
            break  # workers beyond this have never been needed
        late_below = late
    return ShadowQueues(at=load.now, levels=tuple(levels))


def kept_warm(shadow_queues: ShadowQueues, load: Load) -> int:
    """Return the number of workers that are worth keeping now."""
    for number in range(min(len(shadow_queues.levels), load.most), 0, -1):
        level = shadow_queues.levels[number - 1]
        if level.needed_at is not None and load.now - level.needed_at <= hold_s(level, load):
            return number
    return 0


def is_sure(shadow_queues: ShadowQueues, number: int) -> bool:
    """Return whether enough bursts have needed this worker again for a reliable hold time."""
    return len(shadow_queues.levels[number - 1].gaps) >= SURE_AFTER


def hold_s(level: Level, load: Load) -> float:
    """Return the seconds for which the worker is kept after its last use.

    Too few gaps are no evidence: the worker stays for a while after a short burst, and less after a long one, because a
    load that has lasted comes back as late.
    """
    sure = len(level.gaps) >= SURE_AFTER
    learned = _cheapest(level.gaps, _restart_s(level, load), ends=not sure)
    if sure or load.startup_s <= load.target_s:
        return learned
    used_s = 0.0 if level.needed_at is None else level.needed_at - level.burst_at
    return max(0.0, learned + UNSURE_HOLD_SECONDS - used_s)


def _restart_s(level: Level, load: Load) -> float:
    """Return the idle seconds that a restart is worth: the start, and the waiting of the jobs that it would serve.

    Waits count by their ratio to the target, as hours do: a wait of ten targets is not ten times as bad as one of one.
    """
    if load.startup_s <= load.target_s or not level.avoided:
        return load.startup_s
    jobs = sum(level.avoided) / len(level.avoided)
    worth_s = PRICE * load.target_s * math.log1p(load.startup_s / load.target_s)
    return load.startup_s + jobs * worth_s / load.slots


def _cheapest(gaps: tuple[float, ...], restart_s: float, *, ends: bool) -> float:
    """Return the hold of least cost over the gaps; `ends` adds a gap without an end, because the load may be over."""

    def cost(hold_s: float) -> float:
        longer = int(ends) + sum(1 for gap in gaps if gap > hold_s)
        return sum(gap for gap in gaps if gap <= hold_s) + longer * (hold_s + restart_s)

    return min([0.0, *(SLACK * gap for gap in gaps)], key=cost)


def _level(before: ShadowQueues, number: int) -> Level:
    if number <= len(before.levels):
        return before.levels[number - 1]
    return Level(in_system=before.levels[-1].in_system if before.levels else 0.0)


def _late(level: Level, workers: int, load: Load) -> float:
    """Return how many of the arrived jobs would start later than the target, less the margin."""
    slots = workers * load.slots
    room = slots * (1 + MARGIN * load.target_s / load.service_s) - level.in_system
    return max(0.0, load.arrived - max(0.0, room))


def _note_need(level: Level, avoided: float, load: Load) -> Level:
    """Record that the worker is needed; only arrivals during its start-up would wait for it."""
    gap_s = None if level.needed_at is None else load.now - level.needed_at
    if gap_s is None or gap_s > max(load.startup_s, load.target_s):
        gaps = level.gaps if gap_s is None else (*level.gaps, gap_s)[-SAMPLES:]
        level = replace(level, burst_at=load.now, gaps=gaps, avoided=(*level.avoided, 0.0)[-SAMPLES:])
    if load.now - level.burst_at <= load.startup_s:
        level = replace(level, avoided=(*level.avoided[:-1], level.avoided[-1] + avoided))
    return replace(level, needed_at=load.now)


def _drain(in_system: float, workers: int, past_s: float, load: Load) -> float:
    """Return the shadow queue after the time since the last observation."""
    slots = workers * load.slots
    if in_system > slots:
        return max(0.0, in_system - slots * past_s / load.service_s)
    return in_system * math.exp(-past_s / load.service_s)
