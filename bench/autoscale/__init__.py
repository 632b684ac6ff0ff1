"""Autoscaling by simulation: the operator's decision against the autoscalers that users could choose instead.

`workload` makes the jobs, `simulator` runs them under a policy (`ours`, `peers`, `oracle`), `measures` summarises. The
operator's `decide()` runs unchanged: only its observations are simulated. Start-up times vary by a tenth between
workers, with a new seed each round. `held_out` uses loads that no constant was tuned on, `sensitivity` halves and
doubles every constant. The traces are read from `AGENTPOOL_TRACES` (or `--traces DIR`), by default `../shared/traces`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from bench.autoscale.held_out import held_out, sensitivity
from bench.autoscale.jobs import Workload
from bench.autoscale.measures import Measures, measured
from bench.autoscale.oracle import Oracle
from bench.autoscale.ours import Ours
from bench.autoscale.peers import Fixed, Keda, Knative, lag, lag_and_pending
from bench.autoscale.simulator import Policy, Setup, Simulation
from bench.autoscale.workload import TRACES, diurnal, spikes, step, trace, traces_directory
from bench.report import Figure, Report

NAME = "autoscale"
ROUNDS = 5
STARTUPS_SECONDS = (30.0, 2.0, 120.0)  # the requirements use the first
SLOTS = 5
TARGETS = (2.5, 3.5, 5.0)  # jobs a worker
WINDOWS_SECONDS = (60.0, 120.0, 300.0, 600.0)  # scale-down window and cool-down
UTILISATION = 0.7  # Knative's default target
COUNTS = range(1, 21)

Made = Callable[[Workload, float], Policy]
AGENTPOOL, KEDA_LAG, KEDA_BOTH = "AgentPool", "KEDA lag", "KEDA lag+pending"
POLICIES: dict[str, Made] = {
    AGENTPOOL: lambda _load, _startup_s: Ours(),
    KEDA_LAG: lambda _load, _startup_s: Keda(KEDA_LAG, lag, SLOTS),
    KEDA_BOTH: lambda _load, _startup_s: Keda(KEDA_BOTH, lag_and_pending, SLOTS),
    "Knative KPA": lambda _load, _startup_s: Knative("Knative KPA", SLOTS * UTILISATION),
    "oracle": Oracle,
}
Runs = dict[tuple[str, str, float], list[Measures]]  # load, policy, start-up time -> rounds


async def run() -> Report:
    """Run all policies on all loads."""
    loads = _loads()
    runs = _all_runs(loads)
    frontier = {name: _frontier(load) for name, load in loads.items()}
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
    ratios, required = _ratios(runs, frontier)
    tuned = {load: _tuned(loads[load], _middle(runs, load, AGENTPOOL, "worker_hours")) for load in TRACES}
    for load, (name, p99_s) in tuned.items():
        if name:  # none of them costs so little
            label = f"{load}: p99 wait, best tuned KEDA of no more hours ({name}) / {AGENTPOOL}"
            ratios[label] = p99_s / _middle(runs, load, AGENTPOOL, "p99_s")
    unseen = held_out()
    figures |= unseen
    ratios |= {f"median over {name}": figure.median for name, figure in unseen.items()}
    figures |= sensitivity([loads[name] for name in TRACES])
    shown = digest(figures, list(loads))
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
    "fixed counts are ready from the beginning; frontier: the best p99 of the counts that cost no more",
    f"the table: workers take {STARTUPS_SECONDS[0]:g} s to start; medians; the JSON has all times and the spread",
    "peers drain as gently as AgentPool does, which is better than they do without preStop hooks",
)


def digest(figures: Mapping[str, Figure], loads: Sequence[str]) -> str:
    """Return the medians at the start-up time of the requirements: all figures would fill a book."""
    columns = [label for label, _, _ in READINGS if label not in {"p50 wait", "jobs killed"}]
    units = {label: f", {unit}" if unit else "" for label, unit, _ in READINGS}
    lines = [
        f"| load | policy | {' | '.join(label + units[label] for label in columns)} |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for load, policy in itertools.product(loads, POLICIES):
        medians = [figures[f"{load}, {policy}, {STARTUPS_SECONDS[0]:g} s: {label}"].median for label in columns]
        lines.append(f"| {load} | {policy} | {' | '.join(f'{median:,.3g}' for median in medians)} |")
    return "\n".join(lines)


def _loads() -> dict[str, Workload]:
    directory = traces_directory()
    made = [*(trace(name, directory) for name in TRACES), step(), spikes(), diurnal()]
    return {load.name: load for load in made}


def _all_runs(loads: dict[str, Workload]) -> Runs:
    return {
        (load.name, name, startup_s): [
            _one(load, make(load, startup_s), Setup(startup_s=startup_s, slots=SLOTS, seed=seed))
            for seed in range(ROUNDS)
        ]
        for load in loads.values()
        for startup_s in STARTUPS_SECONDS
        for name, make in POLICIES.items()
    }


def _one(load: Workload, policy: Policy, setup: Setup) -> Measures:
    return measured(Simulation(load, policy, setup).run())


def _frontier(load: Workload) -> list[Measures]:
    """Every fixed count."""
    return [_one(load, Fixed(count), Setup(startup_s=0.0, slots=SLOTS)) for count in COUNTS]


def _tuned(load: Workload, hours: float) -> tuple[str, float]:
    """Tune KEDA on lag and pending over targets and windows: return the best p99 at no higher cost."""
    best = ("", float("inf"))
    for target, window_s in itertools.product(TARGETS, WINDOWS_SECONDS):
        name = f"{target:g} jobs a worker, {window_s:g} s"
        policy = Keda(name, lag_and_pending, target, cooldown_s=window_s, down_window_s=window_s)
        m = _one(load, policy, Setup(startup_s=STARTUPS_SECONDS[0], slots=SLOTS, seed=0))
        if m.worker_hours <= hours and m.p99_s < best[1]:
            best = (name, m.p99_s)
    return best


def _middle(runs: Runs, load: str, policy: str, reading: str) -> float:
    values = sorted(getattr(m, reading) for m in runs[load, policy, STARTUPS_SECONDS[0]])
    return float(values[len(values) // 2])


def _ratios(runs: Runs, frontier: dict[str, list[Measures]]) -> tuple[dict[str, float], dict[str, float]]:
    ratios: dict[str, float] = {}
    required: dict[str, float] = {}
    for load in TRACES:
        for peer, bar in ((KEDA_LAG, 4.0), (KEDA_BOTH, 2.0)):
            for reading, label, least in (("p99_s", "p99 wait", bar), ("worker_hours", "worker-hours", 1.0)):
                name = f"{load}: {label}, {peer} / {AGENTPOOL}"
                ratios[name] = _middle(runs, load, peer, reading) / _middle(runs, load, AGENTPOOL, reading)
                required[name] = least
    for load in ("spikes", "diurnal"):
        counts = frontier[load]
        hours = _middle(runs, load, AGENTPOOL, "worker_hours")
        best = min((m.p99_s for m in counts if m.worker_hours <= hours), default=float("inf"))
        name = f"{load}: p99 wait, best fixed count of no more hours / {AGENTPOOL}"
        ratios[name] = best / _middle(runs, load, AGENTPOOL, "p99_s")
        required[name] = 1.0
    kept = [m.killed == 0 for (_, policy, _), rounds in runs.items() if policy == AGENTPOOL for m in rounds]
    ratios["runs without a killed job / runs"] = sum(kept) / len(kept)
    required["runs without a killed job / runs"] = 1.0
    return ratios, required
