"""Autoscaling by simulation: the operator's decision against the autoscalers that users could choose instead.

`workload` makes the jobs, `simulator` runs them under a policy (`ours`, `peers`, `oracle`), `measures` summarises, and
`bars` compares every load at every start-up time. The operator's `decide()` runs unchanged: only its observations are
simulated. Start-up times vary by a tenth between workers, with a new seed each round. `held_out` uses loads that no
constant was tuned on; `sensitivity` varies every constant. The traces are read from `AGENTPOOL_TRACES` (or
`--traces DIR`), by default `../shared/traces`.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.autoscale.bars import NEAR_SHARE, NOT_BEATEN_SHARE, Case, shares, table
from bench.autoscale.held_out import held_out, unseen_loads
from bench.autoscale.jobs import Workload
from bench.autoscale.measures import Measures, measured, middle, quantile
from bench.autoscale.oracle import Oracle
from bench.autoscale.ours import Ours
from bench.autoscale.peers import Fixed, Keda, Knative, lag, lag_and_pending
from bench.autoscale.simulator import Policy, Setup, Simulation
from bench.autoscale.workload import (
    DAY_SECONDS,
    TRACES,
    diurnal,
    few_long_jobs,
    levels,
    long_jobs,
    mornings,
    spikes,
    step,
    trace,
    traces_directory,
)
from bench.report import Figure, Report, quick

NAME = "autoscale"
SEEDS = range(1 if quick() else 5)  # a round each
STARTUPS_SECONDS = (30.0, 2.0, 120.0)  # the requirements use the first
SLOTS = 5
TUNED_TARGET, TUNED_WINDOW_SECONDS = 5.0, 120.0  # KEDA's best on loads for tuning, by cost: jobs a worker, window
FOURTH_DAY_SECONDS = 3 * DAY_SECONDS
UTILISATION = 0.7  # Knative's default, and the best of 0.5 to 1 on loads for tuning
COUNTS = range(1, 21)

Made = Callable[[Workload, float], Policy]
AGENTPOOL, KEDA_LAG, KEDA_BOTH = "AgentPool", "KEDA lag", "KEDA lag+pending"
POLICIES: dict[str, Made] = {
    AGENTPOOL: lambda _load, _startup_s: Ours(),
    KEDA_LAG: lambda _load, _startup_s: Keda(KEDA_LAG, lag, SLOTS),
    KEDA_BOTH: lambda _load, _startup_s: Keda(KEDA_BOTH, lag_and_pending, SLOTS),
    "KEDA tuned": lambda _load, _startup_s: Keda(
        "KEDA tuned", lag_and_pending, TUNED_TARGET, cooldown_s=TUNED_WINDOW_SECONDS, down_window_s=TUNED_WINDOW_SECONDS
    ),
    "Knative KPA": lambda _load, _startup_s: Knative("Knative KPA", SLOTS * UTILISATION),
    "oracle": Oracle,
}
PEERS = tuple(name for name in POLICIES if name not in {AGENTPOOL, "oracle"})
Runs = dict[tuple[str, str, float], list[Measures]]  # load, policy, start-up time -> rounds


async def run() -> Report:
    """Run all policies on all loads."""
    known = loads()
    runs = _all_runs(known, SEEDS)
    frontier = {name: _frontier(load) for name, load in known.items()}
    figures = {
        f"{load}, {policy}, {startup_s:g} s: {label}": Figure(unit=unit, runs=tuple(read(m) for m in rounds))
        for (load, policy, startup_s), rounds in runs.items()
        for label, unit, read in READINGS
    }
    figures |= {
        f"{load}, fixed {count}: {label}": Figure(unit=unit, runs=(read(m),))
        for load, counts in frontier.items()
        for count, m in zip(COUNTS, counts, strict=True)
        for label, unit, read in READINGS
        if label in {"p99 wait", "worker-hours"}
    }
    cases = _cases(runs, frontier)
    ratios, required = _ratios(cases, runs)
    unseen = compared({load.name: load for load in unseen_loads()}, range(1))
    for name, some in (("", cases), ("held out: ", unseen)):
        ratios |= {f"{name}{label}": value for label, value in shares(some).items()}
    required |= {NEAR_SHARE: 0.9, NOT_BEATEN_SHARE: 1.0}
    figures |= _mornings() | held_out()
    shown = f"{table(cases)}\n\nLoads that no constant was tuned on:\n\n{table(unseen)}"
    return Report(name=NAME, figures=figures, ratios=ratios, required=required, notes=NOTES, digest=shown)


READINGS: tuple[tuple[str, str, Callable[[Measures], float]], ...] = (
    ("p50 wait", "s", lambda m: m.p50_s),
    ("p90 wait", "s", lambda m: m.p90_s),
    ("p99 wait", "s", lambda m: m.p99_s),
    ("share within 5 s", "%", lambda m: 100 * m.in_time),
    ("worker-hours", "h", lambda m: m.worker_hours),
    ("changes of size", "", lambda m: float(m.changes)),
    ("jobs on removed workers (they drain)", "", lambda m: float(m.harmed)),
    ("jobs killed", "", lambda m: float(m.killed)),
)
NOTES = (
    "service time of a trace's request: 0.2 s + ContextTokens/8000 + GeneratedTokens/40",
    "5 slots a worker, at most 20 workers, 15 min of quiet at the end count; target wait 5 s; all start from zero",
    "cost: (p99 wait + target) x worker-hours; a peer is better in both if it has a shorter p99 and fewer hours",
    "KEDA tuned: target and window of the lowest cost on loads for tuning; Knative's default utilisation is best there",
    "fixed counts are ready from the beginning and know the load",
    "peers drain as gently as AgentPool does, which is better than they do without preStop hooks",
)


def loads() -> dict[str, Workload]:
    """Return the loads of the bars."""
    directory = traces_directory()
    synthetic = (step(), spikes(), diurnal(), long_jobs(), few_long_jobs(), levels())
    return {load.name: load for load in (*(trace(name, directory) for name in TRACES), *synthetic)}


def _all_runs(chosen: dict[str, Workload], seeds: range, startups_s: tuple[float, ...] = STARTUPS_SECONDS) -> Runs:
    return {
        (load.name, name, startup_s): [
            run_one(load, make(load, startup_s), Setup(startup_s=startup_s, slots=SLOTS, seed=seed)) for seed in seeds
        ]
        for load in chosen.values()
        for startup_s in startups_s
        for name, make in POLICIES.items()
    }


def run_one(load: Workload, policy: Policy, setup: Setup) -> Measures:
    """Run a policy on a load."""
    return measured(Simulation(load, policy, setup).run())


def _frontier(load: Workload) -> list[Measures]:
    """Every fixed count."""
    return [run_one(load, Fixed(count), Setup(startup_s=0.0, slots=SLOTS)) for count in COUNTS]


def compared(chosen: dict[str, Workload], seeds: range, startups_s: tuple[float, ...] = STARTUPS_SECONDS) -> list[Case]:
    """Compare all policies on these loads, with a round for each seed."""
    frontier = {name: _frontier(load) for name, load in chosen.items()}
    return _cases(_all_runs(chosen, seeds, startups_s), frontier, startups_s)


def _cases(
    runs: Runs, frontier: dict[str, list[Measures]], startups_s: tuple[float, ...] = STARTUPS_SECONDS
) -> list[Case]:
    return [
        Case(
            load=load,
            startup_s=startup_s,
            ours=middle(runs[load, AGENTPOOL, startup_s]),
            peers={name: middle(runs[load, name, startup_s]) for name in PEERS},
            frontier=counts,
        )
        for load, counts in frontier.items()
        for startup_s in sorted(startups_s)
    ]


def _mornings() -> dict[str, Figure]:
    """Compare the first hour of the last two days, with and without learned patterns, at the slowest start."""
    load, figures = mornings(), {}
    for name, learns in (("off", False), ("on", True)):
        setup = Setup(startup_s=max(STARTUPS_SECONDS), slots=SLOTS, seed=0)
        outcome = Simulation(load, Ours(period_s=10.0, woken=True, learns_patterns=learns), setup).run()
        late = [wait for job, wait in zip(load.jobs, outcome.waits_s, strict=False) if job.at > FOURTH_DAY_SECONDS]
        figures[f"mornings, learnPatterns {name}: p99 wait of days 4 and 5"] = Figure(
            unit="s", runs=(quantile(sorted(late), 0.99),)
        )
        figures[f"mornings, learnPatterns {name}: worker-hours"] = Figure(unit="h", runs=(outcome.worker_hours,))
    return figures


def _ratios(cases: list[Case], runs: Runs) -> tuple[dict[str, float], dict[str, float]]:
    ratios: dict[str, float] = {}
    required: dict[str, float] = {}
    by_load = {case.load: case for case in cases if case.startup_s == STARTUPS_SECONDS[0]}
    for load in TRACES:
        case = by_load[load]
        for peer, bar in ((KEDA_LAG, 4.0), (KEDA_BOTH, 2.0)):
            for reading, label, least in (("p99_s", "p99 wait", bar), ("worker_hours", "worker-hours", 1.0)):
                name = f"{load}: {label}, {peer} / {AGENTPOOL}"
                ratios[name] = getattr(case.peers[peer], reading) / getattr(case.ours, reading)
                required[name] = least
    for load in ("spikes", "diurnal"):
        case = by_load[load]
        best = float("inf") if case.fixed_p99_s is None else case.fixed_p99_s
        name = f"{load}: p99 wait, best fixed count of no more hours / {AGENTPOOL}"
        ratios[name] = best / case.ours.p99_s
        required[name] = 1.0
    kept = [m.killed == 0 for (_, policy, _), rounds in runs.items() if policy == AGENTPOOL for m in rounds]
    ratios["runs without a killed job / runs"] = sum(kept) / len(kept)
    required["runs without a killed job / runs"] = 1.0
    return ratios, required
