"""Holds of workers between bursts: the cheapest over past gaps, and what counts without evidence."""

from __future__ import annotations

from dataclasses import replace

from agentpool_operator.scaling.keep_warm import SLACK, UNSURE_HOLD_SECONDS, Level, Load, hold_s

LOAD = Load(now=10_000.0, arrived=0, service_s=4.0, startup_s=30.0, target_s=5.0, slots=5, most=20)


def test_a_worker_is_held_over_gaps_that_a_restart_does_not_pay():
    """Bursts of sixty jobs come back within two minutes: the hold covers all gaps."""
    level = Level(needed_at=9_900.0, burst_at=9_890.0, avoided=(60.0,) * 4, gaps=(100.0, 120.0, 90.0))
    assert hold_s(level, LOAD) == SLACK * 100.0


def test_a_worker_goes_at_once_if_its_gaps_cost_more_than_its_restarts():
    """A worker for single jobs every ten minutes starts again each time."""
    level = Level(needed_at=9_900.0, burst_at=9_890.0, avoided=(1.0,) * 4, gaps=(600.0, 640.0, 580.0))
    assert hold_s(level, LOAD) == 0.0


def test_a_single_long_gap_does_not_prolong_the_hold():
    """The hold covers the usual gaps, not the exception."""
    level = Level(needed_at=9_900.0, burst_at=9_890.0, avoided=(60.0,) * 5, gaps=(100.0, 90.0, 5_000.0, 110.0))
    assert hold_s(level, LOAD) == SLACK * 100.0


def test_without_evidence_the_hold_shrinks_with_the_length_of_the_burst():
    """After a short burst the HPA's window applies; after a load of an hour the worker goes."""
    first = Level(needed_at=9_900.0, burst_at=9_900.0, avoided=(5.0,))
    assert hold_s(first, LOAD) == UNSURE_HOLD_SECONDS
    assert hold_s(replace(first, burst_at=9_800.0), LOAD) == UNSURE_HOLD_SECONDS - 100.0
    assert hold_s(replace(first, burst_at=6_300.0), LOAD) == 0.0
    assert hold_s(first, replace(LOAD, startup_s=2.0)) == 0.0, "a start within the target needs no hold"


def test_slow_starts_do_not_make_waits_priceless():
    """A wait counts by its ratio to the target: four times the start-up time is not four times the price."""
    level = Level(needed_at=9_900.0, burst_at=9_890.0, avoided=(20.0,) * 4, gaps=(400.0, 420.0, 380.0))
    assert hold_s(level, replace(LOAD, startup_s=120.0)) == 0.0
