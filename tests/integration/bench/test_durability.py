"""The durability bench in small: a trial finds the lost jobs, and the report names the settings that must lose none."""

from __future__ import annotations

import importlib

import pytest

from bench.durability import CLUSTER, KILL, LATE, LOCAL, NOTHING, REPLICA, ROWS, SENTINEL, Row, measure, report_of
from bench.durability.trial import Outcome


@pytest.fixture(autouse=True)
def short_load(monkeypatch):
    """Let the fault strike after the first acknowledged jobs."""
    trial = importlib.import_module("bench.durability.trial")
    monkeypatch.setattr(trial, "BEFORE_SECONDS", 0.0)
    monkeypatch.setattr(trial, "AFTER_SECONDS", 0.0)


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.setting in {SENTINEL, CLUSTER} and row.durability is REPLICA and row.fault != LATE],
    ids=lambda row: row.setting.name,
)
async def test_a_failover_loses_no_job_that_a_replica_has_confirmed(row):
    """The primary is killed under load, the replica takes over, and every job ends without a contradiction."""
    found = await measure(row)
    assert found.acknowledged > 0
    assert found.lost == 0


async def test_a_trial_counts_acknowledged_jobs_that_are_lost():
    """Jobs of the memory are lost with the server, although they were acknowledged; the pool is sound afterwards."""
    found = await measure(Row(NOTHING, KILL, LOCAL, safe=False))
    assert 0 < found.lost <= found.acknowledged
    assert found.heal_s > 0


def test_a_lost_job_of_a_safe_line_falls_short():
    """One lost job in any of the trials breaks the bar of its line, and shows in the table."""
    safe = next(row for row in ROWS if row.safe)
    kept = Outcome(acknowledged=10, lost=0, again=1, heal_s=1.0)
    assert report_of({safe: [kept, kept]}, {}).holds
    broken = report_of({safe: [kept, Outcome(acknowledged=10, lost=1, again=0, heal_s=2.0)]}, {})
    assert not broken.holds
    assert f"| {' | '.join(safe.cells)} | 20 | 1 | 1 | 1.0 to 2.0 s |" in broken.digest
