"""Quantities as exact numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agentpool_devcluster.kube.quantity import parse_quantity, pod_requests


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        ("1Gi", str(2**30)),
        ("1e3", "1000"),
        ("1k", "1000"),
        ("100E", str(10**20)),
        ("1500m", "1.5"),
        ("1024Mi", str(2**30)),
        ("-.5", "-0.5"),
        (3, "3"),
    ],
)
def test_quantities_are_read_exactly(text, value):
    """Every suffix of Kubernetes means its exact number."""
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1Q", "a", "inf", "1 Gi", "1_000", "1e9999", "."])
def test_a_text_that_is_no_quantity_is_refused(text):
    """The message contains the text."""
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_a_pod_requests_the_larger_of_containers_and_init_phase():
    """Containers add up, sidecars count throughout, an init container counts together with the sidecars before."""
    pod = {
        "spec": {
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"resources": {"requests": {"cpu": "2"}}},
            ],
            "containers": [
                {"resources": {"requests": {"cpu": "500m"}}},
                {"resources": {"limits": {"cpu": "250m", "nvidia.com/gpu": 1}}},
            ],
            "overhead": {"cpu": "10m"},
        }
    }
    assert pod_requests(pod) == {"cpu": Decimal("2.11"), "nvidia.com/gpu": Decimal(1)}
