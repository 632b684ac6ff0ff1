"""How many workers are worth keeping warm, learned from how often bursts come back.

For every number of workers a shadow queue says which of the jobs that arrive would start late if just so
many were kept (a fluid model: what arrives, what leaves at the observed service time). A worker is *needed*
when with one fewer a whole job would be late. Whether it stays until it is needed again is the ski-rental
problem: keeping it costs its idle seconds, letting it go costs its next start-up and the waiting of the jobs
that it would have served meanwhile. The gaps seen so far give the hold that would have cost least
(https://en.wikipedia.org/wiki/Ski_rental_problem). Before a few have been seen, a worker stays for its
break-even time, which never costs more than twice the best, and the HPA's default window on top. `reaction`
answers what waits now; `assessment` takes the larger.

Where the constants come from: `PRICE` 1 prefers neither side, a job that stands still for a second costs what
a slot does that stands still. `MARGIN` halves the target wait, for the mean service time of a burst may be
twice that of the hour. `LATE_JOBS` is one job, the least there is. `UNSURE_HOLD_S` is
`--horizontal-pod-autoscaler-downscale-stabilization`. `SURE_AFTER` is the fewest gaps of which a single odd
one is outvoted. `python -m bench autoscale` prints the results at half and at double of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PRICE = 1.0  # idle slot-seconds that are worth one second of a job's waiting
MARGIN = 0.5  # of the target wait that the mean may use up
LATE_JOBS = 1.0  # jobs: less than a whole one late is nothing that a worker is needed for
UNSURE_HOLD_S = 300.0  # seconds beyond break-even, while too little is known: the HPA's default window
SURE_AFTER = 3  # gaps
SAMPLES = 20  # gaps and bursts that are remembered for each level
LEVELS = 64  # workers beyond which nothing is kept warm: the shadow of each costs a little


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """What is known of the k-th worker."""

    in_system: float = 0.0  # jobs in the shadow queue that k workers serve
    needed_at: float | None = None  # seconds: when it was last needed; None = never
    burst_at: float = 0.0  # seconds: when the burst began that needed it last
    avoided: tuple[float, ...] = ()  # jobs of each burst that would have waited for its start-up
    gaps: tuple[float, ...] = ()  # seconds between the bursts that needed it


@dataclass(frozen=True, kw_only=True, slots=True)
class Warmth:
    """The shadows, level by level; the first is that of one worker."""

    at: float | None = None  # seconds: the last look
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a look brings in."""

    now: float  # seconds
    arrived: int  # jobs since the last look
    service_s: float  # seconds that a job runs
    startup_s: float  # seconds that a worker takes to start
    target_s: float  # seconds that a job should wait at most
    slots: int  # jobs that a worker runs at once
    most: int  # workers


def watched(before: Warmth, load: Load) -> Warmth:
    """The shadows after one more look."""
    past_s = 0.0 if before.at is None else load.now - before.at
    most = min(load.most, LEVELS)
    levels: list[Level] = []
    late_below = float(load.arrived)  # with no worker at all, every job is late
    for number in range(1, most + 1):
        level = _level(before, number)
        late = _late(level, number, load)
        if late_below >= LATE_JOBS and load.arrived:
            level = _needed(level, late_below - late, load)
        levels.append(replace(level, in_system=_drained(level.in_system + load.arrived, number, past_s, load)))
        if number >= len(before.levels) and late < LATE_JOBS:
            break  # whoever comes after has never been needed and is not now
        late_below = late
    return Warmth(at=load.now, levels=tuple(levels))


def kept_warm(warmth: Warmth, load: Load) -> int:
    """Workers that are worth keeping now."""
    for number in range(min(len(warmth.levels), load.most), 0, -1):
        level = warmth.levels[number - 1]
        if level.needed_at is not None and load.now - level.needed_at <= hold_s(level, load):
            return number
    return 0


def is_sure(warmth: Warmth, number: int) -> bool:
    """Whether so many bursts have needed this worker again that the gaps between them say how long to keep it."""
    return len(warmth.levels[number - 1].gaps) >= SURE_AFTER


def hold_s(level: Level, load: Load) -> float:
    """Seconds that the worker is kept after it was last needed."""
    restart_s = load.startup_s
    if load.startup_s > load.target_s and level.avoided:
        mean = sum(level.avoided) / len(level.avoided)
        restart_s += PRICE * mean * load.startup_s / load.slots
    learned = _cheapest(level.gaps, restart_s)
    unsure = len(level.gaps) < SURE_AFTER and load.startup_s > load.target_s
    return learned + UNSURE_HOLD_S if unsure else learned


def _cheapest(gaps: tuple[float, ...], restart_s: float) -> float:
    """The hold that would have cost least over the gaps; the break-even point is one more, assumed gap."""
    ordered = sorted((*gaps, restart_s))
    best, best_cost = 0.0, len(ordered) * restart_s
    idle = 0.0
    for index, gap in enumerate(ordered):
        longer = len(ordered) - index - 1
        cost = idle + gap * (longer + 1) + longer * restart_s
        idle += gap
        if cost < best_cost:
            best, best_cost = gap, cost
    return best


def _level(before: Warmth, number: int) -> Level:
    if number <= len(before.levels):
        return before.levels[number - 1]
    return Level(in_system=before.levels[-1].in_system if before.levels else 0.0)


def _late(level: Level, workers: int, load: Load) -> float:
    """Jobs of those that arrived which would start later than the target, less the margin."""
    slots = workers * load.slots
    room = slots * (1 + MARGIN * load.target_s / load.service_s) - level.in_system
    return max(0.0, load.arrived - max(0.0, room))


def _needed(level: Level, avoided: float, load: Load) -> Level:
    """Takes down that the worker is needed; only what arrives while it would still be starting would wait for it."""
    gap_s = None if level.needed_at is None else load.now - level.needed_at
    if gap_s is None or gap_s > max(load.startup_s, load.target_s):
        gaps = level.gaps if gap_s is None else (*level.gaps, gap_s)[-SAMPLES:]
        level = replace(level, burst_at=load.now, gaps=gaps, avoided=(*level.avoided, 0.0)[-SAMPLES:])
    if load.now - level.burst_at <= load.startup_s:
        level = replace(level, avoided=(*level.avoided[:-1], level.avoided[-1] + avoided))
    return replace(level, needed_at=load.now)


def _drained(in_system: float, workers: int, past_s: float, load: Load) -> float:
    """The shadow queue after the time since the last look."""
    slots = workers * load.slots
    if in_system > slots:
        return max(0.0, in_system - slots * past_s / load.service_s)
    return in_system * math.exp(-past_s / load.service_s)
