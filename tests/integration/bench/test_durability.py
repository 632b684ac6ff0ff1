"""The durability bench in small: a trial finds the lost jobs, and the report names the settings that must lose none."""

from __future__ import annotations

import importlib

from bench.durability import KILL, LOCAL, NOTHING, ROWS, Row, measure, report_of
from bench.durability.trial import Outcome


async def test_a_trial_counts_acknowledged_jobs_that_are_lost(monkeypatch):
    """Jobs of the memory are lost with the server, although they were acknowledged; the pool is sound afterwards."""
    trial = importlib.import_module("bench.durability.trial")
    monkeypatch.setattr(trial, "BEFORE_SECONDS", 0.0)
    monkeypatch.setattr(trial, "AFTER_SECONDS", 0.0)
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
