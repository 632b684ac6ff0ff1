"""The operator with a thousand pools: start time, reaction time, cost, and writes at rest.

The real operator process, on the devcluster's API server without controllers (their work is not measured) and a real
Redis; nodes and pods are objects only. Three sizes show the slope. `ground` builds the cluster, `measure` measures.
`AGENTPOOL_BENCH_POOLS` sets the greatest size.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from itertools import pairwise

from bench.operator.measure import Measured, Plan, measured
from bench.report import Figure, Report

NAME = "operator"
POOLS = int(os.environ.get("AGENTPOOL_BENCH_POOLS", "1000"))
SIZES = (POOLS // 4, POOLS // 2, POOLS)
FEW_SUBMITS = 100  # at sizes without a p99 requirement
P99_LIMIT_SECONDS = 1.0  # from a submit to the replicas patch, for a pool among all
NOT_DEARER = 0.8  # a pool's cost at the smallest size, in costs at the largest; below 1 for the noise of the machine
P99 = f"{P99_LIMIT_SECONDS:g} s / p99 from submit to replicas patch"
SILENT = "windows without a write at rest / windows"
LINEAR = "CPU at rest for a pool, smallest / largest size"


async def run() -> Report:
    """Run with a quarter, a half and all of the pools."""
    found: list[Measured] = []
    figures: dict[str, Figure] = {}
    for pools in SIZES:
        plan = Plan(pools=pools) if pools == POOLS else Plan(pools=pools, submits=FEW_SUBMITS)
        found.append(await measured(plan, tell=_tell))
        these = _figures(found[-1])
        figures |= these
        _tell("; ".join(f"{name} {figure.median:.3f} {figure.unit}" for name, figure in these.items()))
    smallest, largest = found[0], found[-1]
    silent = [writes == 0 for m in found for writes in m.writes_at_rest]
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            P99: P99_LIMIT_SECONDS / quantile(largest.latencies_s, 0.99),
            SILENT: sum(silent) / len(silent),
            LINEAR: _rest(smallest) / smallest.pools / (_rest(largest) / largest.pools),
        },
        required={P99: 1.0, SILENT: 1.0, LINEAR: NOT_DEARER},
        notes=[
            "2 nodes and 20 pods for each pool; a tenth of the pools ask for a GPU; every pool is looked at every 2 s",
            f"{len(largest.latencies_s)} submits at the largest size, one at a time, each to a pool at rest",
            "the API server is the devcluster's, and shares the processors with the operator",
            *_slopes(found),
        ],
    )


def _tell(line: str) -> None:
    print(line, flush=True)


def _figures(m: Measured) -> dict[str, Figure]:
    found = {
        "first start to first decision": ("s", [m.first_decision_s]),
        "first start to all pools ready": ("s", [m.all_ready_s]),
        "restart to first replicas patch": ("s", m.restarts_s),
        "submit to replicas patch": ("s", m.latencies_s),
        "submit to replicas patch, p99": ("s", [quantile(m.latencies_s, 0.99)]),
        "CPU for 1,000 decisions": ("s", m.cpu_per_1000_s),
        "CPU at rest": ("cores", m.cpu_at_rest),
        "memory": ("MiB", m.memory_mib),
        "API writes a minute at rest": ("", m.writes_at_rest),
    }
    return {f"{m.pools} pools: {name}": Figure(unit=unit, runs=tuple(runs)) for name, (unit, runs) in found.items()}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _rest(m: Measured) -> float:
    return statistics.median(m.cpu_at_rest)


def _slopes(found: Sequence[Measured]) -> list[str]:
    """Return the cost of a further pool between sizes: constant if the cost grows linearly."""
    lines = []
    for less, more in pairwise(found):
        extra = more.pools - less.pools
        cpu_ms = 1000 * (_rest(more) - _rest(less)) / extra
        memory_kib = 1024 * (statistics.median(more.memory_mib) - statistics.median(less.memory_mib)) / extra
        start_ms = 1000 * (more.all_ready_s - less.all_ready_s) / extra
        lines.append(
            f"slope from {less.pools} to {more.pools} pools, for one more: {cpu_ms:.3f} ms of CPU a second at rest, "
            f"{memory_kib:.0f} KiB, {start_ms:.1f} ms of the first start"
        )
    return lines
