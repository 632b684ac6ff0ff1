"""The order of a StatefulSet's pods."""

from __future__ import annotations

import pytest

from agentpool_devcluster.controllers.ordinals import REVISION_LABEL, next_step
from agentpool_devcluster.kube.objects import name_of


def pod(number, *, ready=True, revision="new", terminating=False):
    metadata = {"name": f"db-{number}", "labels": {REVISION_LABEL: revision}}
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Running", "conditions": conditions}}


def step(replicas, *pods, **spec):
    found = next_step({"metadata": {"name": "db"}, "spec": {"replicas": replicas, **spec}}, pods, "new")
    return list(found.create), [name_of(one) for one in found.delete]


@pytest.mark.parametrize(
    ("replicas", "pods", "expected"),
    [
        (2, [], ([0], [])),
        (2, [pod(0, ready=False)], ([], [])),
        (2, [pod(0)], ([1], [])),
        (2, [pod(0), pod(1)], ([], [])),
        (1, [pod(0), pod(1), pod(2)], ([], ["db-2"])),
        (1, [pod(0), pod(1), pod(2, terminating=True)], ([], [])),
        (2, [pod(0, revision="old"), pod(1, revision="old")], ([], ["db-1"])),
        (2, [pod(0, revision="old"), pod(1, ready=False)], ([], [])),
        (2, [pod(0, revision="old"), pod(1)], ([], ["db-0"])),
        (1, [pod(0, ready=False, revision="old")], ([], ["db-0"])),
    ],
)
def test_pods_start_upwards_and_end_downwards_in_single_steps(replicas, pods, expected):
    """Each step waits for the step before."""
    assert step(replicas, *pods) == expected


def test_parallel_pods_start_and_end_together():
    """Without order, all missing and all surplus pods are dealt with at once."""
    assert step(3, pod(1), podManagementPolicy="Parallel") == ([0, 2], [])
    assert step(0, pod(0), pod(1), podManagementPolicy="Parallel") == ([], ["db-1", "db-0"])


def test_updates_keep_to_their_strategy():
    """OnDelete replaces no pod; a partition spares the pods with lower ordinals."""
    old = [pod(0, revision="old"), pod(1, revision="old")]
    assert step(2, *old, updateStrategy={"type": "OnDelete"}) == ([], [])
    assert step(2, old[0], pod(1), updateStrategy={"rollingUpdate": {"partition": 1}}) == ([], [])
