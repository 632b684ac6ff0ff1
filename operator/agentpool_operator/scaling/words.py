"""Decisions in words: short clauses that make one sentence of a reason.

Used by `decide` for `Decision.reason`, and by the events that repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_operator.scaling.demand import Demand


def counted(count: int, noun: str) -> str:
    """`1 job`, `2 jobs`, `no jobs`."""
    if count == 0:
        return f"no {noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def demand_words(need: Demand, concurrency: int) -> str:
    """What waits and runs, and what that takes."""
    if need.ready == 0 and need.running == 0:
        found = "no job waits or runs"
        return found if need.warm == 0 else f"{found}; {_warm_words(need.warm)}"
    waits = f"{counted(need.ready, 'job')} {'waits' if need.ready == 1 else 'wait'}"
    runs = f"{counted(need.running, 'job')} {'runs' if need.running == 1 else 'run'}"
    found = " and ".join(words for words, count in ((waits, need.ready), (runs, need.running)) if count)
    takes = f"{found}, which takes {counted(need.reacting, 'worker')} of {counted(concurrency, 'slot')}"
    return takes if need.warm == 0 else f"{takes}; {_warm_words(need.warm)}"


def _warm_words(warm: int) -> str:
    return f"{counted(warm, 'worker')} kept warm, because bursts have come back sooner than a new start would pay"
