"""Acknowledged jobs after a failure of Redis, for each setting and fault; and the price of a confirmation.

Real servers, a real worker, eight submitters. A power loss drops every byte that was not synced (`power`).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import Durability
from bench.durability.cost import measure_cost
from bench.durability.places import LAG_SECONDS, SNAPSHOT_AGE_SECONDS, Cluster, Sentinel, Single
from bench.durability.trial import LEASE_MS, Outcome, run_trial
from bench.report import Figure, Report, quick

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "durability"
ROUNDS = 3
COST_ROUNDS = 5
DIGITS_FROM = 10  # larger prices are whole numbers
AOF = ("--appendonly", "yes", "--appendfsync")
KILL, POWER, SNAPSHOT, LATE = "kill_process", "lose_power", "restore_snapshot", "fail_over_late"
FAULTS = {
    KILL: "process killed",
    POWER: "power loss",
    SNAPSHOT: f"snapshot of {SNAPSHOT_AGE_SECONDS:g} s ago restored",
    LATE: f"killed, its replica {LAG_SECONDS:g} s behind",
}
LOCAL, FSYNC, REPLICA = Durability.LOCAL, Durability.FSYNC, Durability.REPLICA


@dataclass(frozen=True, slots=True)
class Setting:
    """A place with its options."""

    name: str
    make: Callable[..., Any]
    options: tuple[str, ...] = ()


NOTHING = Setting("no persistence", Single)
EVERYSEC = Setting("`appendfsync everysec`", Single, (*AOF, "everysec"))
ALWAYS = Setting("`appendfsync always`", Single, (*AOF, "always"))
SENTINEL = Setting("primary and replica, Sentinel", Sentinel)
CLUSTER = Setting("Cluster with a replica", Cluster)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    setting: Setting
    fault: str
    durability: Durability
    safe: bool  # no acknowledged job may be lost

    @property
    def cells(self) -> tuple[str, str, str]:
        """Setting, fault and durability in words."""
        return self.setting.name, FAULTS[self.fault], self.durability.value

    @property
    def name(self) -> str:
        """The same as one text."""
        return ", ".join(self.cells)


ROWS = (
    Row(NOTHING, KILL, LOCAL, safe=False),
    Row(EVERYSEC, KILL, LOCAL, safe=True),
    Row(EVERYSEC, POWER, LOCAL, safe=False),
    Row(EVERYSEC, POWER, FSYNC, safe=True),
    Row(EVERYSEC, SNAPSHOT, FSYNC, safe=False),
    Row(ALWAYS, KILL, LOCAL, safe=True),
    Row(ALWAYS, POWER, LOCAL, safe=True),
    Row(ALWAYS, POWER, FSYNC, safe=True),
    Row(SENTINEL, KILL, LOCAL, safe=False),
    Row(SENTINEL, KILL, REPLICA, safe=True),
    Row(SENTINEL, LATE, LOCAL, safe=False),
    Row(SENTINEL, LATE, REPLICA, safe=True),
    Row(CLUSTER, KILL, LOCAL, safe=False),
    Row(CLUSTER, KILL, REPLICA, safe=True),
)
QUICK = (ROWS[2], ROWS[3], ROWS[11])
COSTS = (
    (EVERYSEC, LOCAL), (EVERYSEC, FSYNC), (ALWAYS, LOCAL), (ALWAYS, FSYNC), (SENTINEL, LOCAL), (SENTINEL, REPLICA),
)  # fmt: skip


async def measure(row: Row) -> Outcome:
    """Run one trial in a fresh place."""
    with tempfile.TemporaryDirectory(prefix="agentpool-bench-") as name:
        directory = Path(name)
        place = row.setting.make(directory, *row.setting.options)
        try:
            await place.start()
            outcome = await run_trial(place.url, directory, row.durability, getattr(place, row.fault))
        finally:
            place.close()
    print(f"{row.name}: {outcome}", file=sys.stderr, flush=True)
    return outcome


async def _price(setting: Setting, durability: Durability) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="agentpool-bench-") as name:
        place = setting.make(Path(name), *setting.options)
        try:
            await place.start()
            return await measure_cost(place.url, durability, rounds=1 if quick() else COST_ROUNDS)
        finally:
            place.close()


async def run() -> Report:
    """Run all trials several times, and measure the prices."""
    found = {row: [await measure(row) for _ in range(1 if quick() else ROUNDS)] for row in (QUICK if quick() else ROWS)}
    return report_of(found, {} if quick() else {pair: await _price(*pair) for pair in COSTS})


def report_of(found: dict[Row, list[Outcome]], prices: dict[tuple[Setting, Durability], dict[str, float]]) -> Report:
    """Return the report: a safe line's bar is that no acknowledged job of any trial is lost."""
    figures = {name: figure for row, outcomes in found.items() for name, figure in _figures(row, outcomes).items()}
    kept = {f"kept: {row.name}": _kept(outcomes) for row, outcomes in found.items()}
    required = {f"kept: {row.name}": 1.0 for row in found if row.safe}
    notes = (
        f"a worker, 8 submitters, a lease of {LEASE_MS / 1000:g} s; a job of 20 ms",
        "healed: from the fault until every job that Redis knows has ended, and an audit finds no contradiction",
        "Sentinel and the cluster notice a dead server after 0.5 s and 1 s",
    )
    digest = "\n\n".join(filter(None, (_table(found), _prices(prices))))
    return Report(name=NAME, figures=figures, ratios=kept, required=required, notes=notes, digest=digest)


def _kept(outcomes: list[Outcome]) -> float:
    """Return the share of acknowledged jobs that Redis still has, over all trials."""
    acknowledged = sum(outcome.acknowledged for outcome in outcomes)
    return 1 - sum(outcome.lost for outcome in outcomes) / acknowledged


def _figures(row: Row, outcomes: list[Outcome]) -> dict[str, Figure]:
    return {
        f"lost: {row.name}": Figure(unit="jobs", runs=tuple(float(o.lost) for o in outcomes)),
        f"again: {row.name}": Figure(unit="jobs", runs=tuple(float(o.again) for o in outcomes)),
        f"healed: {row.name}": Figure(unit="s", runs=tuple(o.heal_s for o in outcomes)),
    }


def _table(found: dict[Row, list[Outcome]]) -> str:
    head = "| setting | fault | durability | acknowledged | lost | run again | healed after |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row, outcomes in found.items():
        counts = (sum(o.acknowledged for o in outcomes), sum(o.lost for o in outcomes), sum(o.again for o in outcomes))
        times = [o.heal_s for o in outcomes]
        cells = [*row.cells, *(f"{count:,}" for count in counts)]
        lines.append(f"| {' | '.join(cells)} | {min(times):.1f} to {max(times):.1f} s |")
    return "\n".join(lines)


def _prices(prices: dict[tuple[Setting, Durability], dict[str, float]]) -> str:
    if not prices:
        return ""
    columns = list(next(iter(prices.values())))
    lines = [f"| setting | durability | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for (setting, durability), values in prices.items():
        cells = [f"{value:,.0f}" if value > DIGITS_FROM else f"{value:.2g}" for value in values.values()]
        lines.append(f"| {setting.name} | {durability} | {' | '.join(cells)} |")
    return "\n".join(lines)
