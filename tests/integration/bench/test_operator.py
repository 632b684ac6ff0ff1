"""The operator's bench in small: the counts are correct; the test does not check times."""

from __future__ import annotations

import pytest

from bench.operator import quantile
from bench.operator.measure import Plan, measured


@pytest.mark.timeout(300)
async def test_twenty_pools_are_served_and_nothing_is_written_at_rest():
    """Every pool becomes ready, each submit changes a size, and then the API server receives no request."""
    lines: list[str] = []
    found = await measured(Plan(pools=20, windows=2, window_s=3.0, submits=3, restarts=1), tell=lines.append)
    assert found.writes_at_rest == [0, 0]
    assert (len(found.latencies_s), len(found.restarts_s)) == (3, 1)
    assert 0 < found.first_decision_s <= found.all_ready_s
    assert all(memory > 0 for memory in found.memory_mib)
    assert lines[0] == "20 pools: making nodes, pods and pools"


def test_a_quantile_is_a_measured_value():
    """The p99 of two hundred values is the second largest."""
    assert quantile([float(n) for n in range(200)], 0.99) == 198.0
    assert quantile([1.0], 0.5) == 1.0
