"""How many pods may be evicted."""

from __future__ import annotations

import pytest

from agentpool_devcluster.controllers.disruption import budget_status


def pods(ready, unready=0):
    def pod(status):
        return {
            "metadata": {"name": "p"},
            "spec": {},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        }

    return [pod("True")] * ready + [pod("False")] * unready


@pytest.mark.parametrize(
    ("spec", "ready", "unready", "expected", "allowed"),
    [
        ({"maxUnavailable": 1}, 3, 0, 3, 1),
        ({"maxUnavailable": 1}, 2, 1, 3, 0),
        ({"maxUnavailable": "50%"}, 3, 0, 3, 2),
        ({"minAvailable": 2}, 3, 0, 3, 1),
        ({"minAvailable": "100%"}, 3, 0, 3, 0),
        ({"minAvailable": 0}, 0, 0, 0, 0),
    ],
)
def test_a_budget_allows_surplus_healthy_pods(spec, ready, unready, expected, allowed):
    """Percentages round up, against the expected number of pods."""
    budget = {"metadata": {"name": "b", "generation": 3}, "spec": spec}
    status = budget_status(budget, pods(ready, unready), expected)
    assert status["disruptionsAllowed"] == allowed
    assert status["observedGeneration"] == 3
