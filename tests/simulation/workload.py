"""The jobs of a schedule, and the settings of their pool.

Each schedule has a mixture of its own: a few kinds, a few features that most of its jobs use, and a few moments at
which jobs come together. A mixture of everything would rarely have two jobs that meet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentpool_core.jobs import Priority
from agentpool_core.queue import PoolSettings, Route
from agentpool_core.queue.limits import Limit, LimitBy, Rate
from tests.simulation.program import KINDS

LEASE_MS = 2_000
SETTINGS = PoolSettings(
    routes=(Route(name="narrow", kinds=("narrow",), max_running=1),),
    limits=(
        Limit(name="one-a-key", by=LimitBy.KEY, max_running=1),
        Limit(name="two-a-tenant", by=LimitBy.TENANT, max_running=2),
        Limit(name="slowly", kinds=("flaky",), rate=Rate(count=4, period_ms=1_000)),
    ),
    concurrency=3,
    lease_ms=LEASE_MS,
    timeout_ms=6_000,
    max_attempts=4,
    retry_initial_ms=200,
    retry_max_ms=1_000,
    keep_wait_ms=100,
    drain_ms=1_000,
)
FAILS = {"flaky": (1, 4), "deadly": (1, 3), "parent": (0, 1)}  # least and most
REPLAYED = frozenset({"flaky", "deadly", "waits"})  # a replay forgets checkpoints, and runs children again
FEATURES = ("delay", "limit_key", "tenant", "ttl", "idempotency_key", "after", "http", "cancel", "long", "replay")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job of the schedule."""

    job_id: str
    kind: str
    at: float  # seconds: the submit
    seconds: float  # of the handler's work
    fails: int = 0  # attempts; of a parent, children
    at_once: int | None = None  # children
    tree: bool = False  # a cancel is of all that the job has started, too
    replay: bool = False  # once it has failed
    cancel_after: float | None = None  # seconds from the submit
    signal_after: float = 0.0
    by_http: bool = False  # submitted and awaited through the gateway
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_limited(self) -> bool:
        """Whether more than slots and order decide on the start."""
        return self.kind in {"narrow", "flaky"} or not {"limit_key", "tenant"}.isdisjoint(self.options)

    @property
    def payload(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "fails": self.fails, "at_once": self.at_once}


class Mixture:
    """The features of a schedule's jobs."""

    def __init__(self, chance: random.Random, *, until: float) -> None:
        self._chance = chance
        self.settings = replace(SETTINGS, concurrency=chance.choice((1, 3, 3)))
        self._kinds = chance.sample(KINDS, chance.randint(1, 3))
        self._moments = [chance.uniform(0.0, until) for _ in range(chance.randint(1, 4))]
        self._priorities = chance.sample(list(Priority), chance.randint(1, 2))
        self._shares = {name: chance.choice((0.0, 0.0, 0.3, 0.9)) for name in FEATURES}

    @property
    def has_free_slots(self) -> bool:
        """Whether no job ever waits for a slot."""
        return self.settings.concurrency > 1

    def plans(self) -> Iterator[Plan]:
        """Yield the jobs, in the order of their submits."""
        earlier: list[str] = []
        for at in sorted(self._chance.choice(self._moments) for _ in range(self._chance.randint(4, 10))):
            yield self._plan(f"j{len(earlier) + 1}", at + self._chance.choice((0.0, 0.0, 0.01)), earlier)
            earlier.append(f"j{len(earlier) + 1}")

    def _has(self, feature: str) -> bool:
        return self._chance.random() < self._shares[feature]

    def _plan(self, job_id: str, at: float, earlier: list[str]) -> Plan:
        chance, kind = self._chance, self._chance.choice(self._kinds)
        return Plan(
            job_id=job_id,
            kind=kind,
            at=at,
            seconds=chance.uniform(0.5, 3.0) if self._has("long") else chance.choice((0.0, 0.05, 0.5)),
            fails=chance.randint(*FAILS.get(kind, (0, 0))),
            at_once=chance.choice((None, 1, 2)),
            tree=chance.random() < 0.5,
            replay=self._has("replay") and kind in REPLAYED,
            cancel_after=chance.uniform(0.0, 3.0) if self._has("cancel") else None,
            signal_after=chance.uniform(0.0, 3.0),
            by_http=self._has("http"),
            options=dict(self._options(job_id, earlier)),
        )

    def _options(self, job_id: str, earlier: list[str]) -> Iterator[tuple[str, Any]]:
        chance = self._chance
        yield "priority", chance.choice(self._priorities)
        yield "preemptible", chance.random() < 0.3
        if self._has("delay"):
            yield "delay", chance.uniform(0.1, 2.0)
        if self._has("limit_key"):
            yield "limit_key", chance.choice("kl")
        if self._has("tenant"):
            yield "tenant", chance.choice("st")
        if self._has("ttl"):
            yield "ttl", chance.uniform(0.1, 2.0)
        if self._has("idempotency_key"):
            yield "idempotency_key", f"key-{job_id}"
        if earlier and self._has("after"):
            yield "after", list(dict.fromkeys(chance.choices(earlier, k=chance.randint(1, 2))))
            yield "after_condition", chance.choice(("succeeded", "succeeded", "finished", "failed"))
