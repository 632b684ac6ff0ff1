"""Reasons of decisions in words: short clauses that form a sentence.

Used by `decide` for `Decision.reason`, and by the events that repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_operator.scaling.keep_warm import UNSURE_HOLD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_operator.scaling.demand import Demand


def count_text(count: int, noun: str) -> str:
    """Return a number with its noun: `1 job`, `2 jobs`, `no jobs`."""
    if count == 0:
        return f"no {noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clause(count: int, noun: str, verb: str) -> str:
    """Return a number with its noun and verb: `1 job waits`, `2 jobs wait`, `no jobs wait`."""
    return f"{count_text(count, noun)} {verb}{'s' if count == 1 else ''}"


def demand_words(need: Demand, concurrency: int, *, target: str = "") -> str:
    """Describe the waiting and running jobs, and the workers that they need for the target of a priority."""
    held = f"; {clause(need.held, 'job', 'wait')} for a limit, which no worker could start" if need.held else ""
    if need.ready == 0 and need.running == 0:
        found = f"no job is ready or runs{held}" if held else "no job waits or runs"
        return "; ".join((found, *_look_back(need)))
    waits, runs = clause(need.ready, "job", "wait"), clause(need.running, "job", "run")
    found = " and ".join(words for words, count in ((waits, need.ready), (runs, need.running)) if count)
    within = f" for the target of {target}" if target and need.ready else ""
    workers = f"{count_text(need.reacting - need.recent, 'worker')} of {count_text(concurrency, 'slot')}"
    takes = f"{found}, which takes {workers}{within}{held}"
    if need.out_of_service:
        takes += (
            f", {need.out_of_service} of them in place of {count_text(need.out_of_service, 'worker')} out of service"
        )
    if need.expected:
        takes += f", {need.expected} of them for jobs that are expected within a start of {need.startup_s:.0f} s"
    return "; ".join((takes, *_look_back(need)))


def _look_back(need: Demand) -> Iterator[str]:
    """Yield the clauses about workers that only the past asks for."""
    if need.warm:
        yield _warm_words(need)
    elif need.foreseen:
        workers = count_text(need.foreseen, "worker")
        yield f"{workers} in all for the jobs that are expected within a start of {need.startup_s:.0f} s"
    elif need.recent:
        workers = count_text(need.reacting, "worker")
        yield f"{workers} in all, because demand was as high within the last {need.recent_s:.0f} s"


def _warm_words(need: Demand) -> str:
    kept = f"{count_text(need.warm, 'worker')} kept warm"
    if need.warm_is_sure:
        return f"{kept}, because bursts have come back sooner than a new start would pay"
    return (
        f"{kept} for about {UNSURE_HOLD_SECONDS:g} s, idleSeconds or not, because too few bursts have come back to "
        "know how soon they do; behavior.scaleDown.stabilizationWindowSeconds sets a time instead"
    )
