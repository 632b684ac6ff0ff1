"""Messages of a lead in the fan-out case, and their results."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TOTAL = 2_000  # sent at once
SLOTS = 20
RUN_SECONDS = (0.1, 0.5)  # shortest and longest delegation; equal lengths would march in step
TTL_MS = 10_000  # of info: shorter than the makespan of some 25 s, so some jobs expire
DUPLICATES, CRITICALS, INFOS = TOTAL // 10, TOTAL // 20, TOTAL // 5
MOST_TRIES = 5  # of a caller that the refusing version turns away
CONNECTIONS = 200  # of the lead, kept alive


@dataclass(frozen=True, kw_only=True, slots=True)
class Delegation:
    """A message of the lead."""

    key: str  # idempotency key; a duplicate has its original's key
    priority: str
    seconds: float  # run time


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Result of a whole round."""

    dropped: int  # delegations refused, or never run although their TTL had not passed
    run_twice: int  # keys with more than one run of the handler
    ran: int  # runs of handlers
    makespan_s: float  # from the first submit to the last end
    answer_p99_s: float  # until the caller had its 202, or its refusal
    answers_per_s: float
    critical_p99_s: float = 0.0  # from submit to claim
    infos: int = 0
    info_expired: int = 0
    info_mistimed: int = 0  # expired before the end of the TTL, or started after it
    tasks: int = 0
    tasks_in_turn: int = 0  # that succeeded, and that nothing overtook which has to wait behind them
    longest_task_wait_s: float = 0.0
    yielded: int = 0  # times that a delegation yielded its slot to a critical delegation, between two tool calls


def delegations(*, seed: int) -> list[Delegation]:
    """Return the same mix in a different order for each seed."""
    order = random.Random(seed)
    priorities = ["critical"] * CRITICALS + ["info"] * INFOS
    priorities += ["task"] * (TOTAL - DUPLICATES - len(priorities))
    first = [
        Delegation(key=f"d-{number}", priority=priority, seconds=round(order.uniform(*RUN_SECONDS), 3))
        for number, priority in enumerate(priorities)
    ]
    sent = [*first, *order.sample(first, DUPLICATES)]
    order.shuffle(sent)
    return sent


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100)[98]
