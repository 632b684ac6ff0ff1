"""Concurrency of a worker, by workload and profile.

`worker.concurrency` overrides the presets.
"""

from __future__ import annotations

from enum import StrEnum


class Workload(StrEnum):
    """Type of the pool's jobs: a row of the presets."""

    AGENT = "Agent"  # long, expensive, several steps
    TASK = "Task"  # short and many
    WORKFLOW = "Workflow"  # orchestrates jobs, mostly waiting


class Profile(StrEnum):
    """Load of a worker: a column of the presets."""

    DEFAULT = "Default"  # between the two
    HIGH_THROUGHPUT = "HighThroughput"  # many slots, for jobs that mostly wait
    LOW_RESOURCE = "LowResource"  # few slots, for small nodes


CONCURRENCY: dict[Workload, dict[Profile, int]] = {
    Workload.WORKFLOW: {Profile.DEFAULT: 10, Profile.HIGH_THROUGHPUT: 50, Profile.LOW_RESOURCE: 2},
    Workload.TASK: {Profile.DEFAULT: 20, Profile.HIGH_THROUGHPUT: 100, Profile.LOW_RESOURCE: 5},
    Workload.AGENT: {Profile.DEFAULT: 5, Profile.HIGH_THROUGHPUT: 20, Profile.LOW_RESOURCE: 2},
}
