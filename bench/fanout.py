"""A lead's fan-out to a busy pool: queue-on-busy beside refuse-on-busy, both over real HTTP.

A lead sends 2,000 delegations at once to a pool that can run 20: a tenth is sent twice with the same key, a twentieth
is critical, a fifth is info with a TTL. The refusing version answers 503 while its slots are busy, and its caller gives
up after some retries; the delegations are the same.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.delegations import CONNECTIONS, MOST_TRIES, RUN_SECONDS, SLOTS, TOTAL, TTL_MS, Outcome, delegations
from bench.fanout_queued import queued
from bench.fanout_refusing import FIRST_BACKOFF_SECONDS, refusing
from bench.handlers import TOOL_CALL_SECONDS
from bench.report import Figure, Report, quick

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "fanout"
ROUNDS = 5
CRITICAL_SHARE = 0.01  # of the makespan: the bar for the criticals' p99 wait
FLOOR_SECONDS = 0.001  # resolution of the queue's clock


async def run() -> Report:
    """Run both versions alternately."""
    ours: list[Outcome] = []
    busy: list[Outcome] = []
    for number in range(1 if quick() else ROUNDS):
        sent = delegations(seed=number)
        ours.append(await queued(sent))
        busy.append(await refusing(sent))
    return Report(
        name=NAME,
        figures=_figures("queued", ours) | _figures("refusing", busy) | _only_queued(ours),
        ratios=_ratios(ours, busy),
        required={
            "delegations kept / sent": 1.0,
            "keys run once / keys run": 1.0,
            "1 % of the makespan / criticals' p99 wait": 1.0,
            "info that kept to its TTL / info": 1.0,
            "tasks that ran in their turn / tasks": 1.0,
        },
        notes=[
            f"{TOTAL} delegations of {RUN_SECONDS[0]:g} to {RUN_SECONDS[1]:g} s for {SLOTS} slots",
            f"all but criticals are preemptible: they yield between tool calls of {1000 * TOOL_CALL_SECONDS:g} ms",
            f"at once: the lead has {CONNECTIONS} requests in flight until all are answered",
            "makespan: from the first submit to the last end, by the queue's clock; waits: from submit to first claim",
            f"info has a TTL of {TTL_MS / 1000:g} s: it expires no sooner by the lead's clock, and is not begun later",
            f"refusing: the caller gives up after {MOST_TRIES} tries, backoff from {FIRST_BACKOFF_SECONDS:g} s",
            "kept: a job of the delegation's key succeeded, or is an info whose TTL had passed",
            "in its turn: no later task and no info was begun while the task waited; ageing takes longer than a round",
            "refusing knows no duplicates, so those that get in run twice",
            "the wait of criticals: the median of the rounds, as all times; the other ratios: the worst round's",
        ],
    )


def _figure(unit: str, outcomes: list[Outcome], value: Callable[[Outcome], float]) -> Figure:
    return Figure(unit=unit, runs=tuple(value(outcome) for outcome in outcomes))


def _figures(name: str, outcomes: list[Outcome]) -> dict[str, Figure]:
    return {
        f"{name}: dropped": _figure("of 2000", outcomes, lambda one: one.dropped),
        f"{name}: run twice": _figure("keys", outcomes, lambda one: one.run_twice),
        f"{name}: makespan": _figure("s", outcomes, lambda one: one.makespan_s),
        f"{name}: p99 until an answer": _figure("ms", outcomes, lambda one: one.answer_p99_s * 1000),
        f"{name}: answers": _figure("/s", outcomes, lambda one: one.answers_per_s),
    }


def _only_queued(outcomes: list[Outcome]) -> dict[str, Figure]:
    return {
        "queued: p99 wait of criticals": _figure("ms", outcomes, lambda one: one.critical_p99_s * 1000),
        "queued: slots yielded to criticals": _figure("times", outcomes, lambda one: one.yielded),
        "queued: info expired": _figure("jobs", outcomes, lambda one: one.info_expired),
        "queued: longest wait of a task": _figure("s", outcomes, lambda one: one.longest_task_wait_s),
    }


def _ratios(ours: list[Outcome], busy: list[Outcome]) -> dict[str, float]:
    """Return ratios: never-events by the worst round, times by the median; none if a round has no sample."""
    ratios = {
        "delegations kept / sent": min(1 - one.dropped / TOTAL for one in ours),
        "refusing: delegations kept / sent": min(1 - one.dropped / TOTAL for one in busy),
        "keys run once / keys run": min(1 - one.run_twice / one.ran for one in ours),
        "1 % of the makespan / criticals' p99 wait": statistics.median(
            CRITICAL_SHARE * one.makespan_s / max(one.critical_p99_s, FLOOR_SECONDS) for one in ours
        ),
        "tasks that ran in their turn / tasks": min(one.tasks_in_turn / one.tasks for one in ours),
    }
    if all(one.info_expired for one in ours):
        ratios["info that kept to its TTL / info"] = min(1 - one.info_mistimed / one.infos for one in ours)
    return ratios
