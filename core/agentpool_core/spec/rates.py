"""Names of the scaling policies of HorizontalPodAutoscaler v2, for the schema and for the decision.

A module of its own without any library: the decision runs in browsers too (`bench/autoscale/lab.py`).
"""

from __future__ import annotations

from enum import StrEnum


class PolicyType(StrEnum):
    """Unit of a scaling policy."""

    PODS = "Pods"  # a number of pods
    PERCENT = "Percent"  # a share of the current pods


class SelectPolicy(StrEnum):
    """Choice between several policies."""

    MAX = "Max"  # the largest allowed change
    MIN = "Min"  # the smallest allowed change
    DISABLED = "Disabled"  # no change in this direction
