"""A comparison of sizes for the page "Try the scaling": a load in, the sizes of a pool by AgentPool and by KEDA out.

The page runs this module in the reader's browser by Pyodide, with `agentpool_operator.scaling` and the simulator
unchanged; `docs/try-scaling/page.js` draws the answer. Input and output are JSON texts, and seconds throughout.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.autoscale.jobs import Job, Workload
from bench.autoscale.measures import measured
from bench.autoscale.ours import Ours
from bench.autoscale.peers import Keda, lag, lag_and_pending
from bench.autoscale.simulator import Setup, Simulation

if TYPE_CHECKING:
    from bench.autoscale.simulator import Policy, State

MOST_JOBS = 20_000  # of a load; more would keep the browser busy for long
MOST_SECONDS = 86_400.0
SEED = 1
BOUNDS = {  # least and most of each number that a reader sets
    "service_s": (0.01, MOST_SECONDS),
    "startup_s": (0.0, MOST_SECONDS),
    "target_wait_s": (0.0, MOST_SECONDS),
    "slots": (1, 1000),
    "max_workers": (0, 64),
}


@dataclass(slots=True)
class Explained(Ours):
    """AgentPool, with the reason of each change."""

    reasons: list[tuple[float, int, str]] = field(default_factory=list)  # time, workers, reason

    def size(self, state: State) -> int:
        """Decide, and keep the reason of a change."""
        replicas = Ours.size(self, state)
        if replicas != len(state.workers):
            self.reasons.append((state.now, replicas, self.reason))
        return replicas


def compare(text: str) -> str:
    """Return sizes, measures and reasons for a load. Raises ValueError, which names a field or a line."""
    asked = json.loads(text)
    for name, (least, most) in BOUNDS.items():
        value = asked[name]
        if not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"{name}: {value} is not a number from {least:g} to {most:g}")
    jobs = _pasted(asked["pasted"], asked["service_s"]) if asked.get("pasted") else _drawn(**asked["drawn"])
    load = Workload(name="load", jobs=tuple(sorted(jobs, key=lambda job: job.at)))
    slots, target_s = asked["slots"], asked["target_wait_s"]
    setup = Setup(startup_s=asked["startup_s"], slots=slots, max_workers=asked["max_workers"], seed=SEED)
    ours = Explained(target_wait_s=target_s)
    policies: list[Policy] = [
        ours,
        Keda("KEDA, lag + pending", lag_and_pending, slots),
        Keda("KEDA, lag", lag, slots),
    ]
    return json.dumps({
        "span_s": load.span_s + setup.quiet_s,
        "arrivals": [job.at for job in load.jobs],
        "policies": [_outcome(load, policy, setup, target_s) for policy in policies],
        "reasons": ours.reasons,
    })  # fmt: skip


def _outcome(load: Workload, policy: Policy, setup: Setup, target_s: float) -> dict[str, Any]:
    outcome = Simulation(load, policy, setup).run()
    in_time = sum(1 for wait in outcome.waits_s if wait <= target_s) / max(1, len(outcome.waits_s))
    return {
        "name": policy.name,
        "sizes": outcome.sizes,
        "waits_s": outcome.waits_s,
        **asdict(measured(outcome)),
        "in_time": in_time,
    }


def _drawn(*, rates: list[float], bin_s: float, service_s: float) -> list[Job]:
    """Return jobs at random moments, as many in each bin as the drawn height says, with exponential run times."""
    draw = random.Random(SEED)
    jobs = [
        Job((number + draw.random()) * bin_s, draw.expovariate(1 / service_s))
        for number, rate in enumerate(rates)
        for _ in range(round(rate))
    ]
    return _checked(jobs)


def _pasted(text: str, service_s: float) -> list[Job]:
    """Return the jobs of a pasted trace: a line for each job, seconds since the beginning and its own run time."""
    jobs = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            at, run_s = float(words[0]), float(words[1]) if len(words) > 1 else service_s
        except ValueError as error:
            if not jobs:
                continue  # a heading
            raise ValueError(f"line {number}: {line[:40]!r} is not two numbers of seconds, as in 12.5,3") from error
        if not (0 <= at <= MOST_SECONDS and 0 < run_s <= MOST_SECONDS):
            raise ValueError(f"line {number}: {line[:40]!r} is beyond 0 to {MOST_SECONDS:g} seconds")
        jobs.append(Job(at, run_s))
    return _checked(jobs)


def _checked(jobs: list[Job]) -> list[Job]:
    if not jobs:
        raise ValueError("the load has no job")
    if len(jobs) > MOST_JOBS:
        raise ValueError(f"the load has {len(jobs)} jobs; the page takes {MOST_JOBS}")
    return jobs
